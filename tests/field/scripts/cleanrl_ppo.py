"""Reinforcement learning in one file: W&B with sync_tensorboard, a SummaryWriter of one's own, updates counted from 1."""

import random

import numpy as np
import torch
import wandb
from kit import saves, witness
from torch import nn
from torch.distributions.categorical import Categorical
from torch.utils.tensorboard import SummaryWriter

from notifybot import notify_epoch

run_name = "CartPole__ppo__1"
wandb.init(project="rl", sync_tensorboard=True, name=run_name, mode="offline")
writer = SummaryWriter(f"own/{run_name}")
writer.add_text("hyperparameters", "|param|value|\n|-|-|\n|lr|0.01|")
random.seed(1)
np.random.seed(1)
torch.manual_seed(1)
agent = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
optimizer = torch.optim.Adam(agent.parameters(), lr=0.01, eps=1e-5)
kept = saves("ppo", model=agent, optimizer=optimizer)
num_updates, num_steps = 5, 16
with notify_epoch(range(1, num_updates + 1), name="ppo", checkpoints=kept, progress=False) as updates:
    for update in updates:
        optimizer.param_groups[0]["lr"] = (1.0 - (update - 1.0) / num_updates) * 0.01
        returns = []
        for step in range(num_steps):
            obs = torch.from_numpy(np.random.randn(4).astype(np.float32))
            action = Categorical(logits=agent(obs)).sample()
            reward = float(action.item() == int(obs[0] > 0)) + random.random() * 0.01
            loss = -Categorical(logits=agent(obs)).log_prob(action) * (reward - 0.5)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            returns.append(reward)
            writer.add_scalar("charts/episodic_return", reward, (update - 1) * num_steps + step)
        mean = float(np.mean(returns))
        print(f"update={update}, episodic_return={mean:.4f}")
        updates.log({"losses/policy_loss": loss, "mean_return": mean})
        witness("ppo", update, {"mean_return": mean}, model=agent, optimizer=optimizer)
writer.close()
wandb.finish()
