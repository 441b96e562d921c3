"""Python in the place of compiled functions of Transformer Engine 2.11, for tests without a device."""

from typing import Any

import torch


def install() -> None:
    """Replaces casts to and from FP8 with one scale a tensor, products in bf16 and fp32, RMSNorm and rotation.

    Attention is to go through its unfused path, which is torch's.
    """
    import transformer_engine_torch as compiled  # type: ignore[import-not-found]
    from transformer_engine.pytorch import cpp_extensions  # type: ignore[import-not-found]
    from transformer_engine.pytorch.ops.basic import rmsnorm  # type: ignore[import-not-found]

    compiled.quantize, compiled.dequantize = quantize, dequantize
    compiled.generic_gemm = generic_gemm
    compiled.fused_rope_forward, compiled.fused_rope_backward = rotate_forward, rotate_backward
    for module in (compiled, cpp_extensions, rmsnorm):  # bound by name where they are used
        module.rmsnorm_fwd, module.rmsnorm_bwd = rmsnorm_forward, rmsnorm_backward
    torch.Tensor.is_cuda = property(lambda _: True)  # type: ignore[assignment,misc]


def rmsnorm_forward(
    values: torch.Tensor, weight: torch.Tensor, eps: float, out: Any, quantizer: Any, kind: Any, margin: int, zero: bool
) -> tuple[torch.Tensor, None, torch.Tensor]:
    """The output, no mean, and the reciprocals of the root mean squares."""
    assert quantizer is None and not zero
    wide = values.float()
    inverse = wide.square().mean(-1, keepdim=True).add(eps).rsqrt()
    result = (wide * inverse * weight.float()).to(values.dtype)
    if out is not None:
        result = out.copy_(result)
    return result, None, inverse.squeeze(-1)


def rmsnorm_backward(
    grad: torch.Tensor, values: torch.Tensor, inverse: torch.Tensor, weight: torch.Tensor, margin: int, zero: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of values and weight, by torch's own differentiation of the formula."""
    with torch.enable_grad():
        wide, scale = values.detach().float().requires_grad_(), weight.detach().float().requires_grad_()
        # The reciprocal root depends on the values too; what was added to their mean square follows from it.
        eps = inverse.detach().view(-1, 1).square().reciprocal() - wide.detach().square().mean(-1, keepdim=True)
        normal = wide * (wide.square().mean(-1, keepdim=True) + eps).rsqrt()
        of_values, of_weight = torch.autograd.grad(normal * scale, (wide, scale), grad.float().view(wide.shape))
    return of_values.to(values.dtype), of_weight.to(weight.dtype)


def rotate_forward(
    values: torch.Tensor, angles: torch.Tensor, starts: Any, layout: Any, interleaved: bool, cu_seqlens: Any,
    context_size: int, context_rank: int,
) -> torch.Tensor:  # fmt: skip
    """[S, B, N, D] by the angles [S, 1, 1, D], halves against halves."""
    assert starts is None and not interleaved and cu_seqlens is None and context_size == 1
    angles = angles[: values.shape[0]]
    first, second = values.float().chunk(2, -1)
    return (values.float() * angles.cos() + torch.cat([-second, first], -1) * angles.sin()).to(values.dtype)


def rotate_backward(grad: torch.Tensor, angles: torch.Tensor, *others: Any) -> torch.Tensor:
    """The rotation back."""
    return rotate_forward(grad, -angles, *others)


def quantize(tensor: torch.Tensor, quantizer: Any, output: Any = None, noop: Any = None) -> Any:
    """To FP8, scaled so that the largest magnitude becomes the largest that the type has."""
    assert noop is None and type(quantizer).__name__ == "Float8CurrentScalingQuantizer", quantizer
    kind = _torch_type(quantizer.dtype)
    largest = tensor.detach().float().abs().amax()
    scale = torch.where(largest > 0, torch.finfo(kind).max / largest, 1.0).view(1)
    result = quantizer.make_empty(tensor.shape, dtype=tensor.dtype, device="cpu") if output is None else output
    data = (tensor.detach().float() * scale).to(kind).view(torch.uint8)
    result._data.copy_(data)
    result._scale_inv.copy_(scale.reciprocal())
    if result._transpose is not None:
        result._transpose.copy_(data.flatten(0, -2).t())
        result._transpose_invalid = False
    return result


def dequantize(tensor: Any, _: Any) -> torch.Tensor:
    """Back, in fp32 and rounded to what the tensor says it is."""
    return (tensor._data.view(_torch_type(tensor._fp8_dtype)).float() * tensor._scale_inv).to(tensor.dtype)


def _torch_type(kind: Any) -> torch.dtype:
    return torch.float8_e5m2 if "E5M2" in str(kind) else torch.float8_e4m3fn


def generic_gemm(
    A: torch.Tensor, transa: bool, B: torch.Tensor, transb: bool, out: Any, quantizer: Any, out_dtype: Any, bias: Any,
    bias_dtype: Any, gelu: bool, gelu_in: Any, grad: bool, workspace: Any, workspace_size: int, accumulate: bool,
    use_split_accumulator: bool, *, comm_overlap: Any = None, comm_type: Any = None, extra_output: Any = None,
    bulk_overlap: bool = False, alpha: float = 1.0, beta: Any = None,
) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    """op(B) times op(A): matrices lie column by column. A bias is added forward, and its gradient summed backward."""
    assert quantizer is None and not gelu and comm_overlap is None and alpha == 1.0
    left, right = B.flatten(0, -2).float(), A.flatten(0, -2).float()
    product = (left.t() if transb else left) @ (right.t() if transa else right)
    shape = product.shape if transb else (*B.shape[:-1], product.shape[-1])
    bias_grad = None
    if bias is not None and grad:
        bias_grad = left.sum(0).to(bias.dtype)
    elif bias is not None and bias.numel():
        product = product + bias.float()
    if out is None:
        kind = {"kFloat32": torch.float32, "kBFloat16": torch.bfloat16}.get(str(out_dtype).rpartition(".")[2], A.dtype)
        out = product.to(kind).view(shape)
    elif accumulate:
        out += product.view(out.shape).to(out.dtype)
    else:
        out.copy_(product.view(out.shape))
    return out, bias_grad, None, None
