"""Python in the place of compiled functions of Transformer Engine 2.11, for tests without a device."""

import itertools
import math
import os
from typing import Any

import torch


def install() -> None:
    """Replaces casts to and from FP8, products, RMSNorm and rotation.

    Attention is to go through its unfused path, which is torch's.
    """
    import transformer_engine_torch as compiled  # type: ignore[import-not-found]
    from transformer_engine.pytorch import cpp_extensions  # type: ignore[import-not-found]
    from transformer_engine.pytorch.ops.basic import rmsnorm  # type: ignore[import-not-found]

    compiled.quantize, compiled.dequantize = quantize, dequantize
    compiled.generic_gemm, compiled.bgrad_quantize = generic_gemm, bias_gradient_and_quantize
    os.environ["NVTE_UNFUSED_FP8_UPDATE"] = "1"  # the scales of the delayed recipe, by torch
    compiled.fused_rope_forward, compiled.fused_rope_backward = rotate_forward, rotate_backward
    for module in (compiled, cpp_extensions, rmsnorm):  # bound by name where they are used
        module.rmsnorm_fwd, module.rmsnorm_bwd = rmsnorm_forward, rmsnorm_backward
    torch.Tensor.is_cuda = property(lambda _: True)  # type: ignore[assignment,misc]


def rmsnorm_forward(
    values: torch.Tensor, weight: torch.Tensor, eps: float, out: Any, quantizer: Any, kind: Any, margin: int, zero: bool
) -> tuple[torch.Tensor, None, torch.Tensor]:
    """The output, rounded to FP8 where there is a quantizer, no mean, and the reciprocals of the root mean squares."""
    assert not zero
    wide = values.float()
    inverse = wide.square().mean(-1, keepdim=True).add(eps).rsqrt()
    result = (wide * inverse * weight.float()).to(values.dtype)
    if quantizer is not None:
        result = quantize(result, quantizer, out)
    elif out is not None:
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
    """To FP8 by the quantizer's recipe: a scale from now or from before, or one of each block of 128."""
    assert noop is None
    result = quantizer.make_empty(tensor.shape, dtype=tensor.dtype, device="cpu") if output is None else output
    wide = tensor.detach().float()
    if type(quantizer).__name__ == "Float8BlockQuantizer":
        return _quantize_blocks(wide.flatten(0, -2), quantizer, result)
    kind = _torch_type(quantizer.dtype)
    largest = wide.abs().amax()
    if type(quantizer).__name__ == "Float8CurrentScalingQuantizer":
        if quantizer.with_amax_reduction:
            torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX, group=quantizer.amax_reduction_group)
        scale = torch.where(largest > 0, torch.finfo(kind).max / largest, 1.0).view(1)
    else:
        assert type(quantizer).__name__ == "Float8Quantizer", quantizer
        quantizer.amax.copy_(torch.maximum(quantizer.amax, largest))
        scale = quantizer.scale.view(1).clone()
    data = _cast(wide * scale, kind)
    if result._data is not None:
        result._data.copy_(data)
    result._scale_inv.copy_(scale.reciprocal())
    if result._transpose is not None:
        result._transpose.copy_(data.flatten(0, -2).t().view(result._transpose.shape))
        result._transpose_invalid = False
    return result


def _quantize_blocks(wide: torch.Tensor, quantizer: Any, result: Any) -> Any:
    """[M, K]: along K for products that sum over it, and along M, which lies transposed."""
    assert not quantizer.all_gather_usage
    kind, tall = _torch_type(quantizer.dtype), 128 if quantizer.block_scaling_dim == 2 else 1
    if result._rowwise_data is not None:
        data, inverse = _by_blocks(wide, tall, kind)
        result._rowwise_data.copy_(data.view(result._rowwise_data.shape))
        _put(result._rowwise_scale_inv, inverse if tall > 1 else inverse.t())
    if result._columnwise_data is not None:
        data, inverse = _by_blocks(wide.t(), tall, kind)
        result._columnwise_data.copy_(data.view(result._columnwise_data.shape))
        _put(result._columnwise_scale_inv, inverse if tall > 1 else inverse.t())
    return result


def _by_blocks(values: torch.Tensor, tall: int, kind: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """FP8 [R, C] and what each block of `tall` rows and 128 columns is multiplied by afterwards, powers of two."""
    rows, columns = math.ceil(values.shape[0] / tall), math.ceil(values.shape[1] / 128)
    data, inverse = torch.empty(values.shape, dtype=torch.uint8), torch.ones(rows, columns)
    for row, column in itertools.product(range(rows), range(columns)):
        place = slice(row * tall, (row + 1) * tall), slice(column * 128, (column + 1) * 128)
        largest = float(values[place].abs().max())
        scale = 2.0 ** math.floor(math.log2(torch.finfo(kind).max / largest)) if largest else 1.0
        data[place] = _cast(values[place] * scale, kind)
        inverse[row, column] = 1 / scale
    return data, inverse


def _put(scales: torch.Tensor, values: torch.Tensor) -> None:
    scales.zero_()[: values.shape[0], : values.shape[1]] = values


def _cast(values: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    largest = torch.finfo(kind).max
    return values.clamp(-largest, largest).to(kind).view(torch.uint8)


def bias_gradient_and_quantize(tensor: torch.Tensor, quantizer: Any) -> tuple[torch.Tensor, Any]:
    """The sum over tokens, and the tensor in FP8."""
    return tensor.detach().flatten(0, -2).float().sum(0).to(tensor.dtype), quantize(tensor, quantizer)


def dequantize(tensor: Any, _: Any) -> torch.Tensor:
    """Back, in fp32 and rounded to what the tensor says it is."""
    return (tensor._data.view(_torch_type(tensor._fp8_dtype)).float() * tensor._scale_inv).to(tensor.dtype)


def _torch_type(kind: Any) -> torch.dtype:
    return torch.float8_e5m2 if "E5M2" in str(kind) else torch.float8_e4m3fn


def _operand(operand: Any, along_rows: bool) -> torch.Tensor:
    """An operand of a product in fp32 [M, K]; in FP8 that copy whose blocks lie along what is summed over."""
    if not hasattr(operand, "_fp8_dtype"):
        return operand.float().flatten(0, -2)
    kind = _torch_type(operand._fp8_dtype)
    if hasattr(operand, "_rowwise_data"):
        return _from_blocks(operand, kind, along_rows)
    if operand._data is not None:
        return operand._data.view(kind).float().flatten(0, -2) * operand._scale_inv
    return operand._transpose.view(kind).float().flatten(1).t() * operand._scale_inv


def _from_blocks(operand: Any, kind: torch.dtype, along_rows: bool) -> torch.Tensor:
    if along_rows:
        data, inverse = operand._rowwise_data.flatten(0, -2), operand._rowwise_scale_inv
    else:
        data, inverse = operand._columnwise_data.flatten(1), operand._columnwise_scale_inv
    tall = 128 if operand._is_2D_scaled else 1
    scales = inverse if tall > 1 else inverse.t()
    spread = scales.repeat_interleave(tall, 0)[: data.shape[0]].repeat_interleave(128, 1)[:, : data.shape[1]]
    values = data.view(kind).float() * spread
    return values if along_rows else values.t()


def generic_gemm(
    A: torch.Tensor, transa: bool, B: torch.Tensor, transb: bool, out: Any, quantizer: Any, out_dtype: Any, bias: Any,
    bias_dtype: Any, gelu: bool, gelu_in: Any, grad: bool, workspace: Any, workspace_size: int, accumulate: bool,
    use_split_accumulator: bool, *, comm_overlap: Any = None, comm_type: Any = None, extra_output: Any = None,
    bulk_overlap: bool = False, alpha: float = 1.0, beta: Any = None,
) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    """op(B) times op(A): matrices lie column by column. A bias is added forward, and its gradient summed backward."""
    assert quantizer is None and not gelu and comm_overlap is None and alpha == 1.0
    left, right = _operand(B, not transb), _operand(A, transa)
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
