"""A replica with a small model, for benchmarks: `python -m benchmarks.serving_replica PORT`.

It does what any replica does for a request of the Open Inference Protocol: reads JSON, multiplies a row by a matrix,
writes JSON.
"""

import json
import sys

import numpy as np
from aiohttp import web

WEIGHTS = np.linspace(-1, 1, 64 * 10).reshape(64, 10)


async def infer(request: web.Request) -> web.Response:
    tensor = (await request.json())["inputs"][0]
    scores = np.asarray(tensor["data"]).reshape(tensor["shape"]) @ WEIGHTS
    output = {
        "name": "scores",
        "datatype": "FP64",
        "shape": list(scores.shape),
        "data": scores.ravel().tolist(),
    }
    return web.Response(text=json.dumps({"outputs": [output]}), content_type="application/json")


async def ready(_request: web.Request) -> web.Response:
    return web.Response()


def main() -> None:
    app = web.Application()
    app.router.add_post("/v2/models/digits/infer", infer)
    app.router.add_get("/v2/health/ready", ready)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
