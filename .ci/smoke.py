"""A wheel just installed, with nothing but what it requires: does it import, compute, train?"""

import sys

import kernelgrad as kg

assert not [m for m in sys.modules if m.split(".")[0] in ("numba", "torch", "rich", "matplotlib", "sklearn")]
kg.manual_seed(0)
model = kg.nn.Sequential(
    kg.nn.Conv2d(1, 8, 3), kg.nn.ReLU(), kg.nn.MaxPool2d(2), kg.nn.Flatten(), kg.nn.Linear(8 * 9, 4)
)
optimizer = kg.optim.Adam(model.parameters(), lr=1e-2)
x, y = kg.randn(32, 1, 8, 8), kg.randint(0, 4, (32,))
losses = []
for _ in range(60):
    optimizer.zero_grad()
    loss = kg.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
assert losses[-1] < 0.3 * losses[0], losses
print(f"{kg.__version__}, Python {sys.version.split()[0]}: {kg.isa()}, loss {losses[0]:.2f} -> {losses[-1]:.3f}")
