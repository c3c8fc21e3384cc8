FROM python:3.11-slim-bookworm
WORKDIR /exchange
COPY requirements.txt pyproject.toml ./
RUN pip install --no-cache-dir "$(grep '^uv==' requirements.txt)" && uv pip install --system --no-cache --requirement requirements.txt
COPY . .
RUN uv pip install --system --no-deps --editable . && useradd --create-home exchange && chown -R exchange /exchange \
    && install --directory --owner exchange --mode 700 /keys
USER exchange
