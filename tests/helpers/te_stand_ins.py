"""Stands for Transformer Engine: its constructors and functions with their real parameters, which record their calls.

The signatures are those of Transformer Engine 2.11; tests/gpu compares them with an installed one. A wrong argument
name is a TypeError here as it is there. Forward passes give tensors of the right shape. To be installed before
megatron-core is imported, so in a process of its own.
"""

import contextlib
import enum
import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.utils.checkpoint

VERSION = "2.11.0"
CALLS: list[tuple[str, dict[str, Any]]] = []


def recorded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Notes the arguments that a caller gave."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = dict(signature.bind(*args, **kwargs).arguments)
        name = function.__qualname__.removesuffix(".__init__")
        CALLS.append((name, {key: value for key, value in given.items() if key != "self"}))
        return function(*args, **kwargs)

    return call


class TransformerEngineBaseModule(torch.nn.Module):
    def set_tensor_parallel_group(self, tp_group: Any) -> None: ...


# fmt: off
class Linear(TransformerEngineBaseModule):
    @recorded
    def __init__(self, in_features, out_features, sequence_parallel=False, fuse_wgrad_accumulation=False,
                 tp_group=None, tp_size=1, get_rng_state_tracker=None, rng_tracker_name=None, init_method=None,
                 bias=True, return_bias=False, params_dtype=None, parallel_mode=None, parameters_split=None,
                 device="cuda", ub_overlap_ag=False, ub_overlap_rs=False, ub_overlap_rs_dgrad=False,
                 ub_bulk_dgrad=False, ub_bulk_wgrad=False, ub_name=None, delay_wgrad_compute=False,
                 symmetric_ar_type=None, save_original_input=False, name=None):
        super().__init__()
        self.save_original_input = save_original_input
        _fill(self, in_features, out_features, bias, return_bias, params_dtype, parallel_mode, tp_size,
              sequence_parallel)

    @recorded
    def forward(self, inp, is_first_microbatch=None, fp8_output=False, fp8_grad=False):
        return _product(self, inp)


class LayerNormLinear(TransformerEngineBaseModule):
    @recorded
    def __init__(self, in_features, out_features, eps=1e-5, sequence_parallel=False, fuse_wgrad_accumulation=False,
                 tp_group=None, tp_size=1, get_rng_state_tracker=None, init_method=None, bias=True,
                 normalization="LayerNorm", return_bias=False, params_dtype=None, parallel_mode=None,
                 return_layernorm_output=False, return_layernorm_output_gathered=False, parameters_split=None,
                 zero_centered_gamma=False, device="cuda", ub_overlap_ag=False, ub_overlap_rs=False,
                 ub_overlap_rs_dgrad=False, ub_bulk_wgrad=False, ub_bulk_dgrad=False, ub_name=None,
                 delay_wgrad_compute=False, symmetric_ar_type=None, name=None):
        super().__init__()
        _fill(self, in_features, out_features, bias, return_bias, params_dtype, parallel_mode, tp_size,
              sequence_parallel)
        self.layer_norm_weight = torch.nn.Parameter(torch.ones(in_features, dtype=params_dtype))

    @recorded
    def forward(self, inp, is_first_microbatch=None, fp8_output=False, fp8_grad=False):
        return _product(self, inp * self.layer_norm_weight)


class RMSNorm(torch.nn.Module):
    @recorded
    def __init__(self, normalized_shape=None, eps=1e-5, sequence_parallel=None, params_dtype=None,
                 zero_centered_gamma=False, hidden_size=None, device=None):
        super().__init__()
        shape = hidden_size if normalized_shape is None else normalized_shape  # megatron-core 0.16 gives the former
        self.weight = torch.nn.Parameter(torch.ones(shape, dtype=params_dtype))

    def forward(self, inp):
        return inp * self.weight

    def get_extra_state(self):
        return torch.empty(0, dtype=torch.uint8)

    def set_extra_state(self, state):
        assert state is None or not state.numel()


class LayerNorm(RMSNorm):
    pass


class DotProductAttention(TransformerEngineBaseModule):
    @recorded
    def __init__(self, num_attention_heads, kv_channels, num_gqa_groups=None, attention_dropout=0.0,
                 qkv_format="sbhd", attn_mask_type="causal", window_size=None, sequence_parallel=False, tp_size=1,
                 get_rng_state_tracker=None, tp_group=None, layer_number=None, attention_type="self", cp_group=None,
                 cp_global_ranks=None, cp_stream=None, cp_comm_type="p2p", softmax_scale=None, softmax_type="vanilla",
                 return_max_logit=False):
        super().__init__()

    @recorded
    def forward(self, query_layer, key_layer, value_layer, attention_mask=None, qkv_format=None, cu_seqlens_q=None,
                cu_seqlens_kv=None, cu_seqlens_q_padded=None, cu_seqlens_kv_padded=None, max_seqlen_q=None,
                max_seqlen_kv=None, attn_mask_type=None, window_size=None, checkpoint_core_attention=False,
                core_attention_bias_type="no_bias", core_attention_bias=None, alibi_slopes=None, fast_zero_fill=True,
                inference_params=None, pad_between_seqs=None, fp8_output=False, num_splits=1):
        return query_layer.flatten(-2)


class GroupedLinear(TransformerEngineBaseModule):
    pass


class FusedAdam(torch.optim.AdamW):
    @recorded
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, *,
                 bias_correction=True, adam_w_mode=True, capturable=False, master_weights=False,
                 master_weight_dtype=torch.float32, exp_avg_dtype=torch.float32, exp_avg_sq_dtype=torch.float32,
                 use_decoupled_grad=False, store_param_remainders=False, set_grad_none=None):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


@contextlib.contextmanager
def _autocast(enabled=True, calibrating=False, fp8_recipe=None, fp8_group=None, _graph=False) -> Iterator[None]:
    yield


@recorded
def fp8_autocast(enabled=True, calibrating=False, fp8_recipe=None, fp8_group=None, _graph=False):
    return _autocast()


@recorded
def fp8_model_init(enabled=True, recipe=None, preserve_high_precision_init_val=False):
    return _autocast()


@recorded
def apply_rotary_pos_emb(t, freqs, tensor_format="sbhd", start_positions=None, interleaved=False, fused=False,
                         cu_seqlens=None, cp_size=1, cp_rank=0):
    return t


@recorded
def apply_fused_qkv_rotary_pos_emb(qkv, q_freqs, k_freqs, qkv_split_arg_list, tensor_format="sbhd",
                                   start_positions=None, interleaved=False, cu_seqlens=None, cp_size=1, cp_rank=0):
    return qkv.split(qkv_split_arg_list, -1)


@recorded
def parallel_cross_entropy(inp, target, label_smoothing=0.0, reduce_loss=False, dist_process_group=None,
                           ignore_idx=-100, is_cg_capturable=False, *, _input=None):
    return torch.zeros(inp.shape[:2], requires_grad=True)


@recorded
def checkpoint(function, *args, use_reentrant=True, distribute_saved_activations=False, tp_group=None,
               get_rng_state_tracker=None, context_fn=None, determinism_check=None, debug=False, **kwargs):
    return torch.utils.checkpoint.checkpoint(function, *args, use_reentrant=False, **kwargs)


def multi_tensor_applier(op, noop_flag_buffer, tensor_lists, *args):
    return op(2048 * 32, noop_flag_buffer, tensor_lists, *args)


def multi_tensor_scale(chunk_size, noop_flag, tensor_lists, scale):
    for source, target in zip(*tensor_lists, strict=True):
        target.copy_(source * scale)


def multi_tensor_l2norm(chunk_size, noop_flag, tensor_lists, per_tensor):
    return torch.stack([t.norm() for t in tensor_lists[0]]).norm()[None], None


def get_dummy_wgrad(shape, dtype, zero=False):
    return torch.zeros(shape, dtype=dtype)


@recorded
def initialize_ub(shape, tp_size, use_fp8=False, quantization_modes=None, dtype=torch.bfloat16, ub_cfgs=None,
                  bootstrap_backend=None):
    pass
# fmt: on


class UserBufferQuantizationMode(enum.Enum):
    NONE = "none"
    FP8 = "fp8"


class Format(enum.Enum):
    E4M3 = "e4m3"
    HYBRID = "hybrid"


class Recipe:
    """Takes unknown keys as Transformer Engine's do, which are pydantic dataclasses: they are dropped."""

    KEYS: tuple[str, ...] = ()

    def __init__(self, **kwargs: Any) -> None:
        CALLS.append((self._name(), dict(kwargs)))
        for key, value in kwargs.items():
            if key in self.KEYS:
                setattr(self, key, value)

    def _name(self) -> str:
        return next(base.__name__ for base in type(self).__mro__ if base.__module__ == __name__)


class DelayedScaling(Recipe):
    KEYS = ("margin", "fp8_format", "amax_history_len", "amax_compute_algo", "scaling_factor_compute_algo",
            "reduce_amax", "fp8_dpa", "fp8_mha")  # fmt: skip


class Float8CurrentScaling(Recipe):
    KEYS = ("fp8_format", "fp8_dpa", "fp8_mha")


class MXFP8BlockScaling(Recipe):
    KEYS = ("margin", "fp8_format", "fp8_dpa", "fp8_mha")


class Float8BlockScaling(Recipe):
    KEYS = ("fp8_format", "fp8_dpa", "fp8_mha")


class NVFP4BlockScaling(Recipe):
    KEYS = ("fp4_format",)


class QuantizedTensor(torch.Tensor):
    pass


class CudaRNGStatesTracker:
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.states_: dict[str, int] = {}

    def add(self, name: str, seed: int) -> None:
        self.states_[name] = seed

    def get_states(self) -> dict[str, int]:
        return dict(self.states_)

    def set_states(self, states: dict[str, int]) -> None:
        self.states_ = states

    @contextlib.contextmanager
    def fork(self, name: str = "model-parallel-rng") -> Iterator[None]:
        yield


class FP8GlobalStateManager:
    @staticmethod
    def is_fp8_enabled() -> bool:
        return False

    @staticmethod
    def get_fp8_recipe() -> None:
        return None


def _fill(layer, inputs, outputs, bias, return_bias, dtype, mode, size, sequence_parallel) -> None:  # fmt: skip
    if mode == "column":
        outputs //= size
    elif mode == "row":
        inputs //= size
    layer.weight = torch.nn.Parameter(torch.zeros(outputs, inputs, dtype=dtype))
    layer.bias = torch.nn.Parameter(torch.zeros(outputs, dtype=dtype)) if bias else torch.empty(0)
    layer.use_bias, layer.return_bias, layer.tp_size = bias, return_bias, size
    layer.parallel_mode, layer.sequence_parallel = mode, sequence_parallel


def _product(layer: Any, values: torch.Tensor) -> Any:
    if layer.sequence_parallel and layer.parallel_mode == "column":
        values = values.repeat(layer.tp_size, 1, 1)
    output = values.matmul(layer.weight.t())
    if layer.sequence_parallel and layer.parallel_mode == "row":
        output = output.chunk(layer.tp_size)[0]
    return (output, layer.bias) if layer.return_bias else output


@dataclass
class _Module:
    name: str
    content: dict[str, Any] = field(default_factory=dict)


def install() -> None:
    """Puts the package into sys.modules."""
    pytorch = {
        **{c.__name__: c for c in (Linear, LayerNormLinear, RMSNorm, LayerNorm, DotProductAttention, GroupedLinear)},
        **{f.__name__: f for f in (fp8_autocast, fp8_model_init, parallel_cross_entropy)},
    }
    _make("transformer_engine", __version__=VERSION)
    _make("transformer_engine_torch", device_supports_multicast=lambda: True)
    _make("transformer_engine.common")
    recipes = (Recipe, DelayedScaling, Float8CurrentScaling, MXFP8BlockScaling, Float8BlockScaling, NVFP4BlockScaling)
    _make("transformer_engine.common.recipe", Format=Format, **{r.__name__: r for r in recipes})
    _make("transformer_engine.pytorch", **pytorch)
    _make(
        "transformer_engine.pytorch.fp8",
        FP8GlobalStateManager=FP8GlobalStateManager,
        fp8_autocast=fp8_autocast,
        fp8_model_init=fp8_model_init,
    )
    _make("transformer_engine.pytorch.tensor", QuantizedTensor=QuantizedTensor)
    _make("transformer_engine.pytorch.tensor.utils", replace_raw_data=None, cast_master_weights_to_fp8=None)
    _make(
        "transformer_engine.pytorch.distributed",
        CudaRNGStatesTracker=CudaRNGStatesTracker,
        checkpoint=checkpoint,
        activation_recompute_forward=None,
        get_all_rng_states=dict,
        is_fp8_activation_recompute_enabled=lambda: False,
    )
    _make("transformer_engine.pytorch.cross_entropy", parallel_cross_entropy=parallel_cross_entropy)
    _make("transformer_engine.pytorch.attention")
    _make(
        "transformer_engine.pytorch.attention.rope",
        apply_rotary_pos_emb=apply_rotary_pos_emb,
        apply_fused_qkv_rotary_pos_emb=apply_fused_qkv_rotary_pos_emb,
    )
    _make("transformer_engine.pytorch.module")
    _make(
        "transformer_engine.pytorch.module.base",
        get_dummy_wgrad=get_dummy_wgrad,
        initialize_ub=initialize_ub,
        UserBufferQuantizationMode=UserBufferQuantizationMode,
        TransformerEngineBaseModule=TransformerEngineBaseModule,
    )
    _make("transformer_engine.pytorch.cpp_extensions", general_gemm=None)
    multi = {f.__name__: f for f in (multi_tensor_applier, multi_tensor_scale, multi_tensor_l2norm)}
    _make("transformer_engine.pytorch.optimizers", FusedAdam=FusedAdam, FusedSGD=None, **multi)
    _make("transformer_engine.pytorch.constants", TE_DType={})
    names = ("make_graphed_callables", "restore_fp8_tensors", "save_fp8_tensors", "set_capture_end")
    _make("transformer_engine.pytorch.graph", **dict.fromkeys((*names, "set_capture_start")))
    names = ("fused_compute_score_for_moe_aux_loss", "fused_moe_aux_loss", "fused_topk_with_score_function")
    _make("transformer_engine.pytorch.router", **dict.fromkeys(names))
    _make("transformer_engine.pytorch.utils", make_weak_ref=None)
    _make("transformer_engine.pytorch.ops", Sequential=torch.nn.Sequential, FusibleOperation=torch.nn.Module)


def _make(name: str, **content: Any) -> None:
    module = types.ModuleType(name)
    module.__path__ = []  # a package: what is not made here does not import
    module.__spec__ = __import__("importlib.machinery").machinery.ModuleSpec(name, None, is_package=True)
    for key, value in content.items():
        setattr(module, key, value)
    sys.modules[name] = module
    parent, _, own = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], own, module)
