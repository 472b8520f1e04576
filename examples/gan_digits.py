"""A generative adversarial network on scikit-learn's digits: two models and two optimizers in one step."""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn


class Generator(nn.Module):
    def __init__(self, noise: int, width: int) -> None:
        super().__init__()
        self.start = nn.Linear(noise, 2 * width * 4)
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(2 * width, width, 4, 2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 1, 4, 2, padding=1),
        )

    def forward(self, noise: Tensor) -> Tensor:
        return torch.sigmoid(self.layers(self.start(noise).view(len(noise), -1, 2, 2)))


class Discriminator(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 4, 2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, padding=1),
            nn.LeakyReLU(0.2),
        )
        self.head = nn.Linear(2 * width * 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.layers(images).flatten(1)).squeeze(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=int, default=32)
    options = parser.parse_args()
    torch.manual_seed(0)

    images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 16
    noise_size = 16
    generator = Generator(noise_size, options.width)
    discriminator = Discriminator(options.width)
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), lr=5e-4, betas=(0.5, 0.999))
    loss_of = nn.BCEWithLogitsLoss()
    true, false = torch.ones(options.batch), torch.zeros(options.batch)

    for step in range(options.steps):
        real = images[torch.randint(len(images), (options.batch,))]
        fake = generator(torch.randn(options.batch, noise_size))

        on_real, on_fake = discriminator(real), discriminator(fake.detach())
        discriminator_loss = loss_of(on_real, true) + loss_of(on_fake, false)
        discriminator_optimizer.zero_grad()
        discriminator_loss.backward()
        discriminator_optimizer.step()

        generator_loss = loss_of(discriminator(fake), true)
        generator_optimizer.zero_grad()
        generator_loss.backward()
        generator_optimizer.step()

        if step % 100 == 0 or step == options.steps - 1:
            told_apart = ((on_real > 0).float().mean() + (on_fake < 0).float().mean()) / 2
            print(
                f"step {step}: loss discriminator {discriminator_loss.item():.3f}, generator "
                f"{generator_loss.item():.3f}; told apart {told_apart.item():.1%}"
            )


if __name__ == "__main__":
    main()
