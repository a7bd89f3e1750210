"""An S3 server whose bucket is full before it answers: `python full_bucket.py FOLDER PORT`.

One that lost its bucket when it was stopped would say that a shard is not there.
"""

import sys
from pathlib import Path

from moto.s3.models import s3_backends
from moto.server import main

folder, port = Path(sys.argv[1]), sys.argv[2]
bucket = s3_backends["123456789012"]["aws"]
bucket.create_bucket("models", "us-east-1")
for file in folder.rglob("*.tar"):
    bucket.put_object("models", f"shards/{file.relative_to(folder)}", file.read_bytes())
main(["-H", "127.0.0.1", "-p", port])
