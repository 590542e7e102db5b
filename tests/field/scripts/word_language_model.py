"""An LSTM over tokens whose learning rate is quartered by hand when the validation loss does not fall; Ctrl-C is caught."""

import math

import torch
from kit import saves, text, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(1111)
bptt, batch_size, clip = 10, 8, 0.25
tokens = text(800)
train_data, val_data = tokens[:640].view(batch_size, -1).t(), tokens[640:].view(batch_size, -1).t()


class RNNModel(nn.Module):
    def __init__(self, ntoken=11, ninp=12, nhid=16):
        super().__init__()
        self.nhid = nhid
        self.drop = nn.Dropout(0.2)
        self.encoder = nn.Embedding(ntoken, ninp)
        self.rnn = nn.LSTM(ninp, nhid, 1)
        self.decoder = nn.Linear(nhid, ntoken)

    def forward(self, given, hidden):
        output, hidden = self.rnn(self.drop(self.encoder(given)), hidden)
        return torch.log_softmax(self.decoder(self.drop(output)).view(-1, 11), 1), hidden

    def init_hidden(self):
        return torch.zeros(1, batch_size, self.nhid), torch.zeros(1, batch_size, self.nhid)


class Rate:
    """The learning rate, which the script changes by hand and so keeps by hand."""

    def __init__(self):
        self.lr, self.best = 20.0, None

    def state_dict(self):
        return {"lr": self.lr, "best": self.best}

    def load_state_dict(self, state):
        self.lr, self.best = state["lr"], state["best"]


model, rate = RNNModel(), Rate()
criterion = nn.NLLLoss()


def batches(source):
    for i in range(0, source.size(0) - 1, bptt):
        n = min(bptt, len(source) - 1 - i)
        yield source[i : i + n], source[i + 1 : i + 1 + n].reshape(-1)


def evaluate():
    model.eval()
    total, hidden = 0.0, model.init_hidden()
    with torch.no_grad():
        for data, targets in batches(val_data):
            output, hidden = model(data, hidden)
            total += len(data) * criterion(output, targets).item()
    return total / (len(val_data) - 1)


kept = saves("lm", model=model, extra={"rate": rate}, monitor="val_loss")
try:
    with notify_epoch(range(1, 6), name="lm", checkpoints=kept, progress=False) as epochs:
        for epoch in epochs:
            model.train()
            hidden = model.init_hidden()
            for data, targets in batches(train_data):
                model.zero_grad()
                hidden = tuple(each.detach() for each in hidden)
                output, hidden = model(data, hidden)
                loss = criterion(output, targets)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), clip)
                for p in model.parameters():
                    p.data.add_(p.grad, alpha=-rate.lr)
                epochs.log(train_loss=loss.item())
            val_loss = evaluate()
            print("-" * 40)
            print(f"| end of epoch {epoch:3d} | valid loss {val_loss:5.2f} | valid ppl {math.exp(val_loss):8.2f}")
            epochs.log({"val_loss": val_loss, "val_ppl": math.exp(val_loss), "lr": rate.lr})
            if rate.best is None or val_loss < rate.best:
                rate.best = val_loss
            else:
                rate.lr /= 4.0
            witness("lm", epoch, {"val_loss": val_loss}, model=model)
except KeyboardInterrupt:
    print("Exiting from training early")
print(f"| End of training | best loss {rate.best:5.2f}")
