"""SGD with momentum, meters, and checkpoints of the script's own beside ours: the last one, and a copy of the best."""

import os
import shutil

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch


class AverageMeter:
    def __init__(self):
        self.sum = self.count = 0

    def update(self, value, n):
        self.sum += value * n
        self.count += n

    @property
    def avg(self):
        return self.sum / self.count


def accuracy(output, target, topk=(1,)):
    _, predicted = output.topk(max(topk), 1)
    hits = predicted.eq(target.view(-1, 1))
    return [hits[:, :k].any(1).float().mean() * 100 for k in topk]


def main():
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(*blobs())
    loader = torch.utils.data.DataLoader(data, batch_size=32, shuffle=True)
    model = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=30, gamma=0.1)
    best_acc1 = 0
    kept = saves("imagenet", model=model, optimizer=optimizer, scheduler=scheduler, monitor="acc1", mode="max")
    with notify_epoch(range(4), name="imagenet", checkpoints=kept, monitor="acc1:max", progress=False) as epochs:
        for epoch in epochs:
            losses, top1, top5 = AverageMeter(), AverageMeter(), AverageMeter()
            model.train()
            for images, target in loader:
                output = model(images)
                loss = criterion(output, target)
                acc1, acc2 = accuracy(output, target, topk=(1, 2))
                losses.update(loss.item(), images.size(0))
                top1.update(acc1.item(), images.size(0))
                top5.update(acc2.item(), images.size(0))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            scheduler.step()
            epochs.log(loss=losses.avg, acc1=top1.avg, acc2=top5.avg)
            is_best = top1.avg > best_acc1
            best_acc1 = max(top1.avg, best_acc1)
            torch.save(
                {"epoch": epoch + 1, "state_dict": model.state_dict(), "best_acc1": best_acc1}, "checkpoint.pth.tar"
            )
            epochs.log_checkpoint("checkpoint.pth.tar")
            if is_best:
                shutil.copyfile("checkpoint.pth.tar", "model_best.pth.tar")
            print(f"Epoch: [{epoch}] Acc@1 {top1.avg:.3f} Loss {losses.avg:.4e}")
            told = {"loss": losses.avg, "acc1": top1.avg, "acc2": top5.avg}
            witness("imagenet", epoch, told, model=model, optimizer=optimizer, scheduler=scheduler)
    assert os.path.exists("model_best.pth.tar")


if __name__ == "__main__":
    main()
