"""An op of your own: the straight-through estimator, which rounds going forward and pretends not to have, coming back.

With it a network learns weights of two values, -s and +s. The check at the end compares another hand-written op, a
numerically careful log(cosh(x)), with central differences.

    python examples/custom_op.py
"""

import kernelgrad as kg
from kernelgrad import nn, optim
from kernelgrad.data import load_bundled
from kernelgrad.testing import gradcheck


class Binarize(kg.autograd.Function):
    """sign(w) times the mean size of each row. Backward: the gradient of w itself where |w| <= 1, else 0.

    Courbariaux et al. (2016), https://arxiv.org/abs/1602.02830; the scale is from Rastegari et al. (2016),
    https://arxiv.org/abs/1603.05279.
    """

    @staticmethod
    def forward(ctx, w):
        ctx.save_for_backward(w)
        return w.sign() * w.abs().mean(dim=1, keepdim=True)

    @staticmethod
    def backward(ctx, grad_out):
        (w,) = ctx.saved_tensors
        return grad_out * (w.abs() <= 1)


class LogCosh(kg.autograd.Function):
    """log(cosh(x)) = |x| + log1p(exp(-2 |x|)) - log(2), which does not overflow. Its derivative is tanh(x)."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        size = x.abs()
        return size + (-2 * size).exp().log1p() - 0.6931471805599453

    @staticmethod
    def backward(ctx, grad_out):
        (x,) = ctx.saved_tensors
        return grad_out * x.tanh()


class BinaryLinear(nn.Linear):
    def forward(self, x):
        return nn.functional.linear(x, Binarize.apply(self.weight), self.bias)


def main(steps=400):
    kg.manual_seed(0)
    train, test = load_bundled("digits")
    images, labels = train.tensors
    images = images.flatten(1)
    model = nn.Sequential(BinaryLinear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), BinaryLinear(128, 10))
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    for step in range(steps):
        rows = kg.randint(0, len(labels), (64,))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
        loss.backward()
        optimizer.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {loss.item():.4f}")
    model.eval()
    with kg.no_grad():
        accuracy = (model(test.tensors[0].flatten(1)).argmax(dim=1) == test.tensors[1]).float().mean().item()
    print(f"binary weights, held-out accuracy {accuracy:.4f}")

    x = kg.tensor([-800.0, -1.0, 0.0, 0.5, 3.0], dtype=kg.float64, requires_grad=True)
    print("LogCosh matches central differences:", gradcheck(LogCosh.apply, (x,)))
    return accuracy


if __name__ == "__main__":
    main()
