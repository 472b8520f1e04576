"""Tells figures to TensorBoard's writers, to logging, and to log_metric."""

import logging
import sys
import tempfile

import numpy
import torch

import deepseek_prof

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
log = logging.getLogger("training")
writers = []
if "tensorboardX" in sys.argv:
    from tensorboardX import SummaryWriter

    writers.append(SummaryWriter(tempfile.mkdtemp()))
if "tensorboard" in sys.argv:
    from torch.utils.tensorboard import SummaryWriter as TorchWriter

    writers.append(TorchWriter(tempfile.mkdtemp()))

for step in range(5):
    log.info("epoch %d: val_loss=%.3f, top1: %.1f port=29500 at 12:30:05", step, 1 / (step + 1), 50.0 + step)
    log.info({"train_loss": 2.0 - step, "note": "text", "flag": True})
    log.debug("hidden_loss=3")
    log.info("listening on port=%d, pid=%d", 8080, 99)
    deepseek_prof.log_metric("accuracy", torch.tensor(step / 4))
    deepseek_prof.log_metric("latency", numpy.float32(step), "ms")
    deepseek_prof.log_metric("odd [bold] \x1b[31m'; DROP", step)
    deepseek_prof.log_metric("text", "no number")
    for writer in writers:
        writer.add_scalar("eval/f1", torch.tensor(0.5 + step), step)
        writer.add_scalars("parts", {"a": 1.0 * step, "b": numpy.array(2.0 * step)}, step)
for writer in writers:
    writer.close()
