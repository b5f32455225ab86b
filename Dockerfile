# docker build -t clfnb .                                   PyTorch with its CUDA libraries (about 7 GB)
# docker build -t clfnb-cpu --build-arg TORCH="OPTIONS" .   a CPU build (about 2 GB): OPTIONS are those of the line
#                                                           that https://pytorch.org/get-started/locally writes for CPU
# docker run --rm -v "$PWD/runs:/clfnb/runs" clfnb          the first lesson, as `make run`
# docker run --rm clfnb clfnb lessons                       any other command
# docker run --rm --gpus all clfnb clfnb doctor             on a GPU
FROM python:3.11-slim-bookworm

ARG TORCH=""
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /clfnb
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
COPY clfnb ./clfnb
COPY nbs ./nbs
RUN pip install --no-cache-dir -c constraints.txt uv \
    && if [ -n "$TORCH" ]; then uv pip install --system --no-cache -c constraints.txt torch torchvision $TORCH; fi \
    && uv pip install --system --no-cache -c constraints.txt -e ".[lab,barcodes,xray]"
COPY . .

RUN useradd --create-home --uid 1000 learner && mkdir -p runs data && chown -R learner runs data
USER 1000
ENV CLFNB_RUNS=/clfnb/runs CLFNB_DATA=/clfnb/data MPLBACKEND=agg
EXPOSE 8888
CMD ["clfnb", "run", "ecg_delineation"]
