# docker build -t clfnb .                                   with CPU builds of PyTorch (about 2 GB)
# docker build -t clfnb-cuda --build-arg DEVICE=cuda .      with its CUDA libraries (about 7 GB)
# docker run --rm -v "$PWD/runs:/clfnb/runs" clfnb          the first lesson, as `make run`
# docker run --rm clfnb clfnb lessons                       any other command
# docker run --rm --gpus all clfnb-cuda clfnb doctor        on a GPU
FROM python:3.11-slim-bookworm

ARG DEVICE=cpu
RUN apt-get update && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /clfnb
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
COPY clfnb ./clfnb
COPY nbs ./nbs
RUN pip install --no-cache-dir -c constraints.txt uv \
    && if [ "$DEVICE" = cpu ]; then index="--extra-index-url https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match"; fi \
    && uv pip install --system --no-cache $index -c constraints.txt -e ".[lab,barcodes,xray]"
COPY . .

RUN useradd --create-home learner && mkdir -p runs data && chown -R learner runs data
USER learner
ENV CLFNB_RUNS=/clfnb/runs CLFNB_DATA=/clfnb/data MPLBACKEND=agg
EXPOSE 8888
CMD ["clfnb", "run", "ecg_delineation"]
