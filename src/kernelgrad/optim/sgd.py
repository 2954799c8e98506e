"""Stochastic gradient descent."""

from kernelgrad.optim.optimizer import FusedOptimizer, check


class SGD(FusedOptimizer):
    """``g = grad + weight_decay p;  b = momentum b + (1 - dampening) g;  p = p - lr b`` (nesterov: ``p - lr (g +
    momentum b)``).

    Parameters
    ----------
    params : as in `Optimizer`
    lr : step size
    momentum, dampening, weight_decay, nesterov, maximize : as in the formula; maximize turns the sign of the gradient
    foreach, fused : accepted for PyTorch's sake; the step is always fused

    References
    ----------
    Sutskever et al. (2013), https://proceedings.mlr.press/v28/sutskever13.html
    """

    kernel = "sgd_step"
    names = ("momentum_buffer",)
    counted = False

    def __init__(
        self,
        params,
        lr=1e-3,
        momentum=0,
        dampening=0,
        weight_decay=0,
        nesterov=False,
        *,
        maximize=False,
        foreach=None,
        differentiable=False,
        fused=None,
    ):
        check("lr", lr, lr >= 0.0, "learning rate")
        check("momentum", momentum, momentum >= 0.0)
        check("weight_decay", weight_decay, weight_decay >= 0.0)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    def _needed(self, group):
        return self.names if group["momentum"] else ()

    def __setstate__(self, state):
        super().__setstate__(state)
        for param in [p for p, entry in self.state.items() if entry.get("momentum_buffer") is None]:
            del self.state[param]  # PyTorch may write None for a buffer that does not exist yet

    def _constants(self, group, step, state):
        momentum, fresh = group["momentum"], step == 1
        flags = (momentum != 0, group["nesterov"])
        keep, gain = (0.0, 1.0) if fresh else (momentum, 1.0 - group["dampening"])
        return flags, (
            -1.0 if group["maximize"] else 1.0,
            group["weight_decay"],
            1.0,
            float(group["lr"]),
            keep,
            gain,
            momentum,
        )
