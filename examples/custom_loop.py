"""A loop written by hand, with what real ones have: validation, clipping, a schedule, the best weights kept.

python examples/custom_loop.py
"""

import kernelgrad as kg
from kernelgrad import nn, optim
from kernelgrad.data import DataLoader, load_bundled, random_split


class Residual(nn.Module):
    """x + f(x), the block that everything deep is made of."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        return x + self.inner(self.norm(x))


def loss_and_accuracy(model, loader):
    model.eval()
    loss, right, count = 0.0, 0, 0
    with kg.no_grad():
        for inputs, labels in loader:
            scores = model(inputs)
            loss += nn.functional.cross_entropy(scores, labels, reduction="sum").item()
            right += (scores.argmax(dim=1) == labels).sum().item()
            count += len(labels)
    return loss / count, right / count


def main(epochs=30):
    kg.manual_seed(0)
    data = load_bundled("breast_cancer")
    training, validation = random_split(data.train, [0.85, 0.15])
    loader = DataLoader(training, batch_size=32, shuffle=True)
    held = DataLoader(validation, batch_size=256)

    model = nn.Sequential(nn.Linear(30, 32), Residual(32), Residual(32), nn.Linear(32, len(data.classes)))
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    best, kept = float("inf"), None
    for epoch in range(epochs):
        model.train()
        for inputs, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        schedule.step()
        loss, accuracy = loss_and_accuracy(model, held)
        if loss < best:
            best, kept = loss, {name: tensor.clone() for name, tensor in model.state_dict().items()}
        print(f"epoch {epoch + 1:2d}  validation loss {loss:.4f}  accuracy {accuracy:.4f}")
    model.load_state_dict(kept)
    loss, accuracy = loss_and_accuracy(model, DataLoader(data.test, batch_size=256))
    print(f"held out: loss {loss:.4f}, accuracy {accuracy:.4f}")
    return accuracy


if __name__ == "__main__":
    main()
