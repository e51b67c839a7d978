"""A typical receiver: FastAPI and sqlite3, committed with synchronous=FULL before each answer."""

import hashlib
import hmac
import json
import sqlite3
import sys

import uvicorn
from fastapi import FastAPI, Request, Response

folder = sys.argv[1]
database = sqlite3.connect(f"{folder}/peer.db", isolation_level=None)
database.execute("PRAGMA journal_mode = WAL")
database.execute("PRAGMA synchronous = FULL")
database.execute("CREATE TABLE bodies (nr INTEGER PRIMARY KEY, job TEXT, body BLOB NOT NULL)")
app = FastAPI()


@app.post("/callbacks/{job}/{token}")
async def callback(job: str, token: str, request: Request) -> Response:
    body = await request.body()
    # The work of a token check. The server does not know dropreel's secret, so it accepts every token.
    hmac.compare_digest(hmac.new(b"secret", job.encode(), hashlib.sha256).hexdigest(), token)
    json.loads(body)
    database.execute("INSERT INTO bodies (job, body) VALUES (?, ?)", (job, body))
    return Response(status_code=204)


class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"http://127.0.0.1:{port}", flush=True)


Server(uvicorn.Config(app, port=0, log_level="critical", access_log=False)).run()
