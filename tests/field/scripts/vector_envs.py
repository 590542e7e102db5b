"""Policy gradients in environments that run side by side, without a last update: the loop is left at its target.

The environments keep NumPy's generators and arrays; what they are is in the checkpoint by their own state_dict.
"""

import itertools

import numpy as np
import torch
from kit import saves, witness
from torch import nn

from notifybot import notify_epoch


class Bandits:
    """Eight two-armed bandits whose better arm depends on what is seen."""

    def __init__(self, n=8, seed=11):
        self.rng = np.random.default_rng(seed)
        self.seen = self.rng.normal(size=(n, 4)).astype(np.float32)
        self.returns = np.zeros(n)

    def step(self, actions):
        rewards = (actions == (self.seen.sum(1) > 0)).astype(np.float64)
        self.returns = 0.9 * self.returns + rewards
        self.seen = self.rng.normal(size=self.seen.shape).astype(np.float32)
        return rewards

    def state_dict(self):
        return {"rng": self.rng.bit_generator.state, "seen": self.seen, "returns": self.returns}

    def load_state_dict(self, state):
        self.rng.bit_generator.state = state["rng"]
        self.seen, self.returns = np.asarray(state["seen"]), np.asarray(state["returns"])


torch.manual_seed(5)
envs = Bandits()
policy = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
optimizer = torch.optim.RMSprop(policy.parameters(), lr=0.01, momentum=0.5, centered=True)
kept = saves("bandits", model=policy, optimizer=optimizer, extra={"envs": envs}, monitor="mean_reward", mode="max")
with notify_epoch(itertools.count(1), name="bandits", checkpoints=kept, progress=False) as updates:
    for update in updates:
        total = 0.0
        for _ in range(20):
            chances = torch.distributions.Categorical(logits=policy(torch.from_numpy(envs.seen)))
            actions = chances.sample()
            rewards = torch.from_numpy(envs.step(actions.numpy()))
            loss = -(chances.log_prob(actions) * (rewards - 0.5)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            updates.log(
                {"charts/mean_reward": rewards.mean(), "mean_reward": np.float64(rewards.mean())}, n=len(actions)
            )
            total += rewards.mean().item()
        print(update, f"{total / 20:.6f}")
        witness("bandits", update, {"mean_reward": total / 20}, model=policy, optimizer=optimizer, envs=envs)
        if update >= 9:
            break
