# syntax=docker/dockerfile:1
# Protome's command line and its local app:
#   docker build -t protome .
# PyTorch comes as the package registry has it: for x86-64 with CUDA, which works without a graphics card too, and takes
# gigabytes. Another build, such as that for processors alone or for another CUDA, is taken from the index that PyTorch's
# page of installation names for it:
#   docker build -t protome --build-arg TORCH_INDEX=ADDRESS .
# The app, at port 8765 of this machine; the log has the address with its token. With a graphics card, add --gpus all:
#   docker run --rm -p 127.0.0.1:8765:8765 -v protome:/data protome
# The command line, on photos in this folder:
#   docker run --rm -u "$(id -u):$(id -g)" -v "$PWD:/photos" -w /photos protome reconstruct me.jpg --out head

FROM python:3.11-slim-bookworm AS build
ARG TORCH_INDEX=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
WORKDIR /build
COPY pyproject.toml constraints.txt ./
# MediaPipe comes without its own requirements, and OpenCV without those of a desktop, as in the Makefile. What changes
# seldom comes first, so that a change of the code does not install it anew.
RUN set -eu; \
    if [ -n "$TORCH_INDEX" ]; then \
        pip install --constraint constraints.txt --index-url "$TORCH_INDEX" torch; \
    fi; \
    python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extra = project['optional-dependencies']; \
names = project['dependencies'] + [one for part in ('app', 'heic', 'people', 'usdz', 'video', 'view') for one in extra[part]]; \
print(*[name for name in names if not name.startswith('mediapipe')], sep='\n')" > requirements.txt; \
    pip install --constraint constraints.txt --requirement requirements.txt setuptools opencv-python-headless \
        absl-py attrs flatbuffers 'protobuf>=4.25.3,<5'; \
    pip install --constraint constraints.txt --no-deps mediapipe
COPY src ./src
COPY README.md LICENSE NOTICE.md ./
RUN pip install --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    XDG_DATA_HOME=/data \
    HOME=/tmp
# The photos and results of the app: a volume, which the user of the container owns.
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin protome \
    && install --directory --owner protome --group protome --mode 0700 /data
USER 10001:10001
VOLUME /data
WORKDIR /data
EXPOSE 8765
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["protome"]
CMD ["app", "--host", "0.0.0.0"]
