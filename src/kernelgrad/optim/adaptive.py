"""RMSprop, Adagrad, Adadelta: step sizes from the squares of past gradients."""

from kernelgrad.core import empty_like, fill_
from kernelgrad.optim.optimizer import FusedOptimizer, check


class RMSprop(FusedOptimizer):
    """``v = alpha v + (1 - alpha) g^2;  p = p - lr g / (sqrt(v) + eps)``, optionally centered (the variance in place
    of v) and with momentum on the scaled gradient.

    References
    ----------
    Hinton, Neural Networks for Machine Learning, lecture 6; centered: Graves (2013), https://arxiv.org/abs/1308.0850
    """

    kernel = "rmsprop_step"
    names = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params,
        lr=1e-2,
        alpha=0.99,
        eps=1e-8,
        weight_decay=0,
        momentum=0,
        centered=False,
        capturable=False,
        foreach=None,
        maximize=False,
        differentiable=False,
    ):
        check("lr", lr, lr >= 0.0, "learning rate")
        check("eps", eps, eps >= 0.0, "epsilon value")
        check("momentum", momentum, momentum >= 0.0)
        check("weight_decay", weight_decay, weight_decay >= 0.0)
        check("alpha", alpha, alpha >= 0.0)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    def _needed(self, group):
        return (
            ("square_avg",) + ("grad_avg",) * bool(group["centered"]) + ("momentum_buffer",) * (group["momentum"] > 0)
        )

    def _constants(self, group, step, state):
        alpha, scale = group["alpha"], -1.0 if group["maximize"] else 1.0
        flags = (group["centered"], group["momentum"] > 0)
        return flags, (
            scale,
            group["weight_decay"],
            1.0,
            alpha,
            1.0 - alpha,
            float(group["lr"]),
            group["eps"],
            group["momentum"],
        )


class Adagrad(FusedOptimizer):
    """``s = s + g^2;  p = p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)``.

    References
    ----------
    Duchi, Hazan & Singer (2011), https://jmlr.org/papers/v12/duchi11a.html
    """

    kernel = "adagrad_step"
    names = ("sum",)

    def __init__(
        self,
        params,
        lr=1e-2,
        lr_decay=0,
        weight_decay=0,
        initial_accumulator_value=0,
        eps=1e-10,
        foreach=None,
        *,
        maximize=False,
        differentiable=False,
        fused=None,
    ):
        check("lr", lr, lr >= 0.0, "learning rate")
        check("lr_decay", lr_decay, lr_decay >= 0.0)
        check("weight_decay", weight_decay, weight_decay >= 0.0)
        check("initial_accumulator_value", initial_accumulator_value, initial_accumulator_value >= 0.0)
        check("eps", eps, eps >= 0.0, "epsilon value")
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p] = self._init_state(p, group)  # from the start, as in PyTorch

    def _init_state(self, param, group):
        state = super()._init_state(param, group)
        state["sum"] = fill_(empty_like(param), group["initial_accumulator_value"])
        return state

    def _constants(self, group, step, state):
        lr = float(group["lr"]) / (1.0 + (step - 1) * group["lr_decay"])
        return (), (-1.0 if group["maximize"] else 1.0, group["weight_decay"], 1.0, lr, group["eps"])


class Adadelta(FusedOptimizer):
    """``v = rho v + (1 - rho) g^2;  d = g sqrt(a + eps) / sqrt(v + eps);  a = rho a + (1 - rho) d^2;  p = p - lr d``.

    References
    ----------
    Zeiler (2012), https://arxiv.org/abs/1212.5701
    """

    kernel = "adadelta_step"
    names = ("square_avg", "acc_delta")

    def __init__(
        self,
        params,
        lr=1.0,
        rho=0.9,
        eps=1e-6,
        weight_decay=0,
        foreach=None,
        *,
        capturable=False,
        maximize=False,
        differentiable=False,
    ):
        check("lr", lr, lr >= 0.0, "learning rate")
        check("rho", rho, 0.0 <= rho <= 1.0)
        check("eps", eps, eps >= 0.0, "epsilon value")
        check("weight_decay", weight_decay, weight_decay >= 0.0)
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "foreach": foreach,
                "differentiable": differentiable,
            },
        )

    def _constants(self, group, step, state):
        rho, scale = group["rho"], -1.0 if group["maximize"] else 1.0
        return (), (scale, group["weight_decay"], 1.0, rho, 1.0 - rho, float(group["lr"]), group["eps"])
