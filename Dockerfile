# The playground (docs/playground.md) for the runs in a folder of this machine:
#
#     docker build --tag langlift .
#     docker run --rm --init -p 127.0.0.1:7860:7860 -v "$PWD/runs:/runs:ro" langlift /runs/welsh
#
# Without PyTorch's index pip would take the build for CUDA, several gigabytes larger.
FROM python:3.11-slim
WORKDIR /langlift
COPY pyproject.toml constraints.txt README.md ./
COPY src ./src
RUN pip install --no-cache-dir --no-deps --constraint constraints.txt \
        --index-url https://download.pytorch.org/whl/cpu torch \
    && pip install --no-cache-dir --constraint constraints.txt '.[playground]' \
    && useradd --create-home user
USER user
EXPOSE 7860
# docker run -p delivers to the container's address, not to its 127.0.0.1.
ENTRYPOINT ["langlift", "playground", "--host", "0.0.0.0"]
