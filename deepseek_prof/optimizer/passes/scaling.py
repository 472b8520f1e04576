"""Gradient scaling for float16 in training, with ``torch.amp.GradScaler`` and without a change of the program's loop.

``scaled`` is written into the file of the hand-over as it stands here: it uses torch alone.
"""

from __future__ import annotations

import torch


def scaled(model: torch.nn.Module, optimizer: torch.optim.Optimizer, device: str) -> torch.amp.GradScaler:
    """Scale what flows back through ``model``, whose weights ``optimizer`` updates; both are changed in place.

    Gradients are multiplied by the scale where they enter the model and divided by it where they leave, so that float16
    holds the small ones and the loop sees true ones: it may clip, add up and read them. A step whose gradients are
    not finite changes no weights, and a smaller scale follows.
    """
    from types import MethodType

    from torch.utils._pytree import tree_leaves, tree_map

    scaler = torch.amp.GradScaler(device)
    scaler.scale(torch.ones((), device=device))  # makes the scale
    plain_forward, plain_step = model.forward, optimizer.step
    inside = stepped = False

    def scaled_forward(*args: object, **kwargs: object) -> object:
        nonlocal inside
        if inside or not torch.is_grad_enabled():
            return plain_forward(*args, **kwargs)
        scale = scaler.get_scale()

        def leaving(value: object) -> object:
            if not (isinstance(value, torch.Tensor) and value.requires_grad):
                return value
            alias = value.view_as(value)
            alias.register_hook(lambda gradient: gradient / scale)
            return alias

        def entering(value: object) -> object:
            if isinstance(value, torch.Tensor) and value.requires_grad:
                value.register_hook(lambda gradient: gradient * scale)
            return value

        weights = {name: leaving(each) for name, each in model.named_parameters()}
        inside = True
        try:  # weights that the loss uses besides the model keep their own gradients there
            result = torch.func.functional_call(model, weights, tree_map(leaving, args), tree_map(leaving, kwargs))  # type: ignore[arg-type]  # tensors of a mapping, as it wants them
        finally:
            inside = False
        if not any(isinstance(each, torch.Tensor) and each.requires_grad for each in tree_leaves(result)):
            raise TypeError(f"the gradients of a {type(result).__name__} cannot be scaled: it shows no tensors")
        return tree_map(entering, result)

    def scaled_step(_: torch.optim.Optimizer, *args: object, **kwargs: object) -> object:
        nonlocal inside, stepped
        if inside:
            stepped = True
            return plain_step(*args, **kwargs)  # type: ignore[call-overload]  # whatever the program gives
        if args or kwargs.get("closure") is not None:
            raise TypeError("a GradScaler takes no step with a closure")
        given = [each.grad for group in optimizer.param_groups for each in group["params"] if each.grad is not None]
        if not given:
            return plain_step()
        torch._foreach_mul_(given, scaler.get_scale())  # the scaler divides again: a power of two, which is exact
        inside, stepped = True, False
        try:
            result = scaler.step(optimizer)
        finally:
            inside = False
        scaler.update()
        if not stepped:
            optimizer.zero_grad()  # no gradients, no change; hooks and schedules see the step
            return plain_step()
        return result

    model.forward = scaled_forward
    optimizer.step = MethodType(scaled_step, optimizer)  # type: ignore[method-assign]  # of this one only
    return scaler
