"""Adam and its kin: running means of the gradient and of its square."""

import math

from kernelgrad.core import full
from kernelgrad.optim.optimizer import FusedOptimizer, check


def check_common(lr, betas, eps, weight_decay):
    check("lr", lr, lr >= 0.0, "learning rate")
    check("eps", eps, eps >= 0.0, "epsilon value")
    check("beta", betas[0], 0.0 <= betas[0] < 1.0, "beta parameter at index 0")
    check("beta", betas[1], 0.0 <= betas[1] < 1.0, "beta parameter at index 1")
    check("weight_decay", weight_decay, weight_decay >= 0.0)


class Adam(FusedOptimizer):
    """``m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  p = p - lr m' / (sqrt(v') + eps)``, m' and v'
    corrected
    for their start at 0: ``m / (1 - beta1^t)``, ``v / (1 - beta2^t)``.

    Parameters
    ----------
    params : as in `Optimizer`
    lr, betas, eps : as in the formula
    weight_decay : added to the gradient times the parameter; or, with `decoupled_weight_decay`, the parameter shrinks
    by
        ``lr weight_decay`` in every step (AdamW)
    amsgrad : use the largest v so far
    maximize : turn the sign of the gradient
    foreach, fused : accepted for PyTorch's sake; the step is always fused

    References
    ----------
    Kingma & Ba (2015), https://arxiv.org/abs/1412.6980; Reddi et al. (2018), https://arxiv.org/abs/1904.09237
    """

    kernel = "adam_step"
    names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        amsgrad=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
        fused=None,
        decoupled_weight_decay=False,
    ):
        check_common(lr, betas, eps, weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def _needed(self, group):
        return self.names if group["amsgrad"] else self.names[:2]

    def _constants(self, group, step, state):
        beta1, beta2 = group["betas"]
        lr, weight_decay = float(group["lr"]), group["weight_decay"]
        shrink = 1.0
        if group["decoupled_weight_decay"]:
            shrink, weight_decay = 1.0 - lr * weight_decay, 0.0
        size = lr / (1.0 - beta1**step)
        correction = 1.0 / math.sqrt(1.0 - beta2**step)
        scale = -1.0 if group["maximize"] else 1.0
        return (group["amsgrad"],), (
            scale,
            weight_decay,
            shrink,
            1.0 - beta1,
            beta2,
            1.0 - beta2,
            size,
            correction,
            group["eps"],
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: ``p = (1 - lr weight_decay) p - ...``.

    References
    ----------
    Loshchilov & Hutter (2019), https://arxiv.org/abs/1711.05101
    """

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=1e-2,
        amsgrad=False,
        *,
        maximize=False,
        foreach=None,
        capturable=False,
        differentiable=False,
        fused=None,
    ):
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def __setstate__(self, state):
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True


class NAdam(FusedOptimizer):
    """Adam with Nesterov momentum, whose coefficient mu warms up: ``mu_t = beta1 (1 - 0.5 0.96^(t momentum_decay))``.

    References
    ----------
    Dozat (2016), https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ
    """

    kernel = "nadam_step"
    names = ("exp_avg", "exp_avg_sq")
    number = "mu_product"  # the product of all mu so far

    def __init__(
        self,
        params,
        lr=2e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        momentum_decay=4e-3,
        decoupled_weight_decay=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
    ):
        check_common(lr, betas, eps, weight_decay)
        check("momentum_decay", momentum_decay, momentum_decay >= 0.0)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
            },
        )

    def _init_state(self, param, group):
        return {**super()._init_state(param, group), "mu_product": full((), 1.0)}

    def _constants(self, group, step, state):
        beta1, beta2 = group["betas"]
        lr, weight_decay, decay = float(group["lr"]), group["weight_decay"], group["momentum_decay"]
        mu = beta1 * (1.0 - 0.5 * 0.96 ** (step * decay))
        mu_next = beta1 * (1.0 - 0.5 * 0.96 ** ((step + 1) * decay))
        product = state["mu_product"].mul_(mu).item()
        shrink = 1.0
        if group["decoupled_weight_decay"]:
            shrink, weight_decay = 1.0 - lr * weight_decay, 0.0
        size_g, size_m = lr * (1.0 - mu) / (1.0 - product), lr * mu_next / (1.0 - product * mu_next)
        correction = 1.0 / math.sqrt(1.0 - beta2**step)
        scale = -1.0 if group["maximize"] else 1.0
        return (), (
            scale,
            weight_decay,
            shrink,
            1.0 - beta1,
            beta2,
            1.0 - beta2,
            size_g,
            size_m,
            correction,
            group["eps"],
        )


class RAdam(FusedOptimizer):
    """Adam whose step begins as momentum alone, until the variance of an adaptive step is known well enough, and is
    then rectified: ``p = p - lr r_t m' / (sqrt(v') + eps)``.

    Parameters
    ----------
    params : as in `Optimizer`
    lr, betas, eps : as in `Adam`; eps is added to ``sqrt(v)``, before the correction
    weight_decay : added to the gradient times the parameter; or, with `decoupled_weight_decay`, the parameter shrinks
        by ``lr weight_decay`` in every step
    maximize : turn the sign of the gradient
    foreach : accepted for PyTorch's sake; the step is always fused

    References
    ----------
    Liu et al. (2020), https://arxiv.org/abs/1908.03265
    """

    kernel = "radam_step"
    names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        decoupled_weight_decay=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
    ):
        check_common(lr, betas, eps, weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )

    def _constants(self, group, step, state):
        beta1, beta2 = group["betas"]
        lr, weight_decay = float(group["lr"]), group["weight_decay"]
        shrink = 1.0
        if group["decoupled_weight_decay"]:
            shrink, weight_decay = 1.0 - lr * weight_decay, 0.0
        size, left = lr / (1.0 - beta1**step), 1.0 - beta2**step
        most = 2.0 / (1.0 - beta2) - 1.0  # rho_inf, the length of the average that v approaches; rho is that so far
        rho = most - 2.0 * step * beta2**step / left
        rectified = rho > 5.0
        if rectified:
            rect = (rho - 4.0) * (rho - 2.0) * most / ((most - 4.0) * (most - 2.0) * rho)
            size *= math.sqrt(rect) * math.sqrt(left)
        scale = -1.0 if group["maximize"] else 1.0
        return (rectified,), (scale, weight_decay, shrink, 1.0 - beta1, beta2, 1.0 - beta2, size, group["eps"])


class Adamax(FusedOptimizer):
    """Adam with the infinity norm: ``u = max(beta2 u, |g| + eps);  p = p - lr / (1 - beta1^t) m / u``.

    References
    ----------
    Kingma & Ba (2015), https://arxiv.org/abs/1412.6980, section 7.1
    """

    kernel = "adamax_step"
    names = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params,
        lr=2e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        foreach=None,
        *,
        maximize=False,
        differentiable=False,
        capturable=False,
    ):
        check_common(lr, betas, eps, weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _constants(self, group, step, state):
        beta1, beta2 = group["betas"]
        size = float(group["lr"]) / (1.0 - beta1**step)
        scale = -1.0 if group["maximize"] else 1.0
        return (), (scale, group["weight_decay"], 1.0, 1.0 - beta1, beta2, size, group["eps"])
