"""Q-learning by episodes with a replay memory of its own in the checkpoint, epsilon by NumPy's and Python's generators."""

import random
from collections import deque

import numpy as np
import torch
from kit import saves, witness
from torch import nn

from notifybot import notify_epoch

random.seed(0)
np.random.seed(0)
torch.manual_seed(0)


class Memory:
    def __init__(self):
        self.rows = deque(maxlen=64)

    def state_dict(self):
        return {"rows": [list(row) for row in self.rows]}

    def load_state_dict(self, state):
        self.rows = deque((tuple(row) for row in state["rows"]), maxlen=64)


policy, target, memory = nn.Linear(2, 2), nn.Linear(2, 2), Memory()
target.load_state_dict(policy.state_dict())
optimizer = torch.optim.AdamW(policy.parameters(), lr=0.01, amsgrad=True)
kept = saves("dqn", model=policy, optimizer=optimizer, extra={"target": target, "memory": memory})
with notify_epoch(range(1, 9), name="dqn", checkpoints=kept, progress=False) as episodes:
    for episode in episodes:
        place, reward_sum = np.random.rand(2), 0.0
        for _ in range(10):
            seen = torch.tensor(place, dtype=torch.float32)
            action = random.randrange(2) if random.random() < 0.3 else policy(seen).argmax().item()
            reward = float(place[action])
            following = np.clip(place + np.random.randn(2) * 0.1, 0, 1)
            memory.rows.append((place.tolist(), action, reward, following.tolist()))
            place, reward_sum = following, reward_sum + reward
            rows = random.sample(list(memory.rows), min(8, len(memory.rows)))
            now, then = torch.tensor([r[0] for r in rows]), torch.tensor([r[3] for r in rows])
            chosen = policy(now.float()).gather(1, torch.tensor([[r[1]] for r in rows])).squeeze(1)
            with torch.no_grad():
                wanted = torch.tensor([r[2] for r in rows]) + 0.9 * target(then.float()).max(1).values
            loss = nn.functional.smooth_l1_loss(chosen, wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if episode % 4 == 0:
            target.load_state_dict(policy.state_dict())
        episodes.log(reward=reward_sum, loss=loss.item())
        print(episode, f"{reward_sum:.6f}")
        witness("dqn", episode, {"reward": reward_sum}, model=policy, optimizer=optimizer, target=target, memory=memory)
