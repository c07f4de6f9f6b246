"""Files for a folder to grade: right ones, wrong ones, and hostile ones, none of which may pass."""

from textwrap import dedent

REFERENCE = """
import torch

WANTED = ["weight", "bias"]


def inputs(rng):
    return {
        "x": rng.normal(size=(6, 4)),
        "weight": rng.normal(size=(4, 3)),
        "bias": rng.normal(size=3),
        "labels": rng.integers(0, 3, 6),
        "decay": 0.01,
    }


def reference(x, weight, bias, labels, decay):
    return torch.nn.functional.cross_entropy(x @ weight + bias, labels) + decay / 2 * (weight * weight).sum()


def solution(x, weight, bias, labels, decay):
    raise AssertionError("nobody calls the reference's own functions")
"""

SOLUTION = """
import numpy as np


def manual(x, weight, bias, labels, decay):
    p = np.exp(x @ weight + bias)
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(x)), labels] -= 1
    p /= len(x)
    return {"weight": x.T @ p + decay * weight, "bias": p.sum(axis=0)}
"""


def changed(*changes):
    """Return the right solution with parts of its text replaced."""
    text = SOLUTION
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in text, old
        text = text.replace(old, new)
    return text


def before(lines):
    """Return the right solution after other lines of the module."""
    return dedent(lines) + SOLUTION


def inside(lines):
    """Return the right solution after other lines of its function."""
    indented = "".join(f"    {line}\n" for line in dedent(lines).strip().splitlines())
    return changed("    p = np.exp", indented + "    p = np.exp")


def instead(lines):
    """Return a module with other lines for the whole of `manual`."""
    head, _, _ = SOLUTION.partition("    p = np.exp")
    return head + "".join(f"    {line}\n" for line in dedent(lines).strip().splitlines())


WRONG = '{"weight": 2 * weight, "bias": bias}'

RIGHT = {
    "plain": SOLUTION,
    "prints": inside("print('hello')"),
    "more_than_wanted": changed('"bias": p.sum(axis=0)', '"bias": p.sum(axis=0), "x": 0 * x, "hidden": None'),
    "fortran_order": changed("x.T @ p + decay * weight", "np.asfortranarray(x.T @ p + decay * weight)"),
    "big_endian": changed("p.sum(axis=0)}", 'p.sum(axis=0).astype(">f8")}'),
    "list": changed("p.sum(axis=0)}", "p.sum(axis=0).tolist()}"),
    "longdouble": changed("p.sum(axis=0)}", "p.astype(np.longdouble).sum(axis=0)}"),
    "keywords": changed(
        "def manual(x, weight, bias, labels, decay):", "def manual(*, x, weight, bias, labels, decay):"
    ),
    "class": changed("def manual(", "class Network:\n  def __call__(self, ")
    .replace("    p", "      p")
    .replace("    return", "      return")
    + "\nmanual = Network()\n",
    "helpers": changed("p = np.exp(x @ weight + bias)", "p = exponentials(x @ weight + bias)")
    + "\ndef exponentials(logits):\n    return np.exp(logits - logits.max(axis=1, keepdims=True))\n",
    "writes_in_its_folder": inside("open('note.txt', 'w').write('mine')"),
    "imports_the_standard_library": before(
        "import math, json, random, collections, dataclasses, functools, csv, decimal"
    ),
    "catches_the_missing_import": before("try:\n    import torch\nexcept ImportError:\n    torch = None\n"),
    "dataclass": before("from dataclasses import dataclass\n@dataclass\nclass Cache:\n    x: object\n"),
    "thread": inside("import threading\nthreading.Thread(target=print).start()"),
}

MISTAKES = {
    "no_mean": (changed("    p /= len(x)\n", ""), "scale path"),
    "no_decay": (changed(" + decay * weight", ""), "term"),
    "sign": (changed("x.T @ p +", "-x.T @ p -"), "sign"),
    "unreduced": (changed("p.sum(axis=0)", "p"), "unreduced"),
    "shape": (changed("p.sum(axis=0)", "p.sum(axis=0, keepdims=True)"), "shape"),
    "float32": (changed("p.sum(axis=0)", "p.sum(axis=0).astype(np.float32)"), "precision"),
    "nan": (changed("p.sum(axis=0)", "p.sum(axis=0) * np.nan"), "nonfinite"),
    "zero": (changed("p.sum(axis=0)", "0 * bias"), "zero"),
    "classes_reversed": (changed("p.sum(axis=0)", "p.sum(axis=0)[::-1]"), "permutation"),
    "one_entry": (changed("    return", "    p[:, 1] *= 1.5\n    return"), "partial"),
    "changes_its_input": (inside("weight *= 1.0000001"), "side-effect"),
    "changes_labels": (changed("    return", "    labels[:] = 0\n    return"), "side-effect"),
    "adds_up": (before("total = 0").replace("    return {", "    global total\n    total = total + p\n    p = total\n    return {"), "side-effect"),
    "another_answer_later": (before("calls = []").replace("    return {", "    calls.append(1)\n    p = p * len(calls)\n    return {"), "side-effect"),
    "missing_bias": (changed(', "bias": p.sum(axis=0)', ""), "missing"),
    "none": (changed('"bias": p.sum(axis=0)', '"bias": None'), "missing"),
    "wrong_key": (changed('"bias"', '"b"'), "missing"),
}  # fmt: skip
"""Ordinary mistakes, with the codes of which at least one of their gradients gets one."""

FAILURES = {
    "syntax": ("def manual(x, weight, bias, labels, decay) return", "line 1: expected ':'"),
    "no_manual": ("import numpy as np", "there is no function manual"),
    "empty": ("", "there is no function manual"),
    "not_python": ("\0\0", "null bytes"),
    "raises": (inside("raise ValueError('not yet')"), "line 6, in manual: ValueError: not yet"),
    "misspelt": (changed("np.exp", "np.exq"), "has no attribute 'exq'"),
    "other_arguments": (changed("labels, decay)", "y)"), "unexpected keyword argument"),
    "returns_a_tuple": (instead("return weight, bias"), "must return a dict of gradients, but it returned tuple"),
    "returns_nothing": (instead("return None"), "it returned NoneType"),
    "returns_an_empty_dict": (instead("return {}"), "no gradient that is wanted: it returns nothing"),
    "returns_text": (instead('return {"weight": "right", "bias": "right"}'), "not an array of real numbers: str"),
    "returns_complex": (instead('return {"weight": weight * 1j, "bias": bias}'), "not an array of real numbers"),
    "ragged": (instead('return {"weight": [[1], [2, 3]], "bias": bias}'), "not an array of real numbers"),
}
"""Files that give no gradients, and what is said of them."""

HOSTILE = {
    "endless": instead("while True: pass"),
    "endless_at_import": before("while True: pass"),
    "sleeps": inside("import time\ntime.sleep(1e6)"),
    "endless_import_of_numbers": before("x = 9 ** 9 ** 9"),
    "exits": instead("import sys\nsys.exit(0)"),
    "exits_at_import": before("import sys\nsys.exit(0)"),
    "leaves": instead("import os\nos._exit(0)"),
    "leaves_at_import": before("import os\nos._exit(0)"),
    "leaves_in_a_thread": instead("import os, threading\nthreading.Thread(target=os._exit, args=(0,)).start()\nwhile True: pass"),
    "kills_itself": instead("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"),
    "crashes": instead("import ctypes\nctypes.string_at(0)"),
    "stops_itself": instead("import signal\nsignal.raise_signal(signal.SIGSTOP)"),
    "kills_its_parent": instead("import os, signal\nos.kill(os.getppid(), signal.SIGTERM)"),
    "kills_its_group": instead("import os, signal\nos.killpg(os.getpgid(0), signal.SIGKILL)"),
    "catches_the_refusal": instead("import os\ntry:\n    os.kill(os.getppid(), 15)\nfinally:\n    os._exit(0)"),
    "gigabytes": instead(f"x = np.ones(1 << 34)\nreturn {WRONG}"),
    "gigabytes_slowly": instead("x = []\nwhile True: x.append(np.ones(1 << 22))"),
    "huge_answer": instead('return {"weight": np.zeros(1 << 26), "bias": bias}'),
    "floods": instead("while True: print('right ' * 10000)"),
    "floods_and_answers": instead(f"for _ in range(1000): print('match ' * 10000)\nreturn {WRONG}"),
    "forges_output": instead(f"""print('{{"ok": true, "gradients": {{"weight": {{"ok": true, "code": "match"}}}}}}', flush=True)
        print("2 of 2 gradients agree with autograd")\nreturn {WRONG}""".replace("        ", "")),
    "writes_to_every_pipe": instead("""
        import os
        for fd in range(3, 100):
            try:
                os.write(fd, b"right" * 1000)
            except OSError:
                pass
        return {"weight": weight, "bias": bias}"""),
    "announces_much": instead("""
        import os, time
        for fd in range(3, 100):
            try:
                os.write(fd, b"\\xff" * 8)
            except OSError:
                pass
        time.sleep(1e6)"""),
    "answers_half": instead("""
        import os, time
        for fd in range(3, 100):
            try:
                os.write(fd, b"\\0" * 7 + b"\\x40" + b"a")
            except OSError:
                pass
        time.sleep(1e6)"""),
    "answers_a_pickle": instead("""
        import os, pickle
        text = b"a" + pickle.dumps({"ok": True})
        for fd in range(3, 100):
            try:
                os.write(fd, len(text).to_bytes(8, "big") + text)
            except OSError:
                pass
        os._exit(0)"""),
    "closes_every_pipe": instead("import os, time\nos.closerange(0, 100)\ntime.sleep(1e6)"),
    "patches_numpy": before("""
        import numpy as np
        np.array = np.asarray = np.abs = np.isfinite = lambda *a, **k: True
        np.allclose = np.array_equal = lambda *a, **k: True
        """).replace("x.T @ p + decay * weight", "weight"),
    "patches_safetensors": instead(f"import safetensors.numpy, json\nsafetensors.numpy.save = json.dumps = lambda *a, **k: b''\nreturn {WRONG}"),
    "patches_the_worker": instead("""
        import sys
        worker = sys.modules["__main__"]
        worker.save = lambda arrays: b"{}"
        worker.explain = lambda *a: "right"
        worker.as_arrays = lambda gradients: {"weight": weight, "bias": bias}
        return {}"""),
    "patches_the_report": before("""
        import builtins
        builtins.all = builtins.any = lambda *a: True
        try:
            import torch_reference
            torch_reference.Report.ok = True
        except ImportError:
            pass
        """).replace("x.T @ p + decay * weight", "weight"),
    "imports_torch": instead("import torch\nreturn {}"),
    "imports_torch_by_tricks": instead("""
        import importlib, sys
        sys.modules.pop("torch", None)
        sys.meta_path.reverse()
        torch = importlib.import_module("torch")
        weight = torch.tensor(weight, requires_grad=True)
        bias = torch.tensor(bias, requires_grad=True)
        loss = torch.nn.functional.cross_entropy(torch.tensor(x) @ weight + bias, torch.tensor(labels))
        (loss + decay / 2 * (weight * weight).sum()).backward()
        return {"weight": weight.grad.numpy(), "bias": bias.grad.numpy()}"""),
    "asks_another_python": instead("import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import torch'], check=True)\nreturn {}"),
    "loses_a_fork": instead(f"import os\nif os.fork():\n    os._exit(0)\nreturn {WRONG}"),
    "fork_bomb": instead("import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"),
    "thread_bomb": instead("import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(1e6,)).start()"),
    "thread_stays": instead(f"import threading, time\nthreading.Thread(target=time.sleep, args=(1e6,)).start()\nreturn {WRONG}"),
    "reads_the_reference": instead("""
        import glob
        for path in glob.glob("../**/reference.py", recursive=True) + ["FOLDER/reference.py"]:
            functions = {}
            exec(open(path).read().replace("import torch", ""), functions)
            return functions["solution"](x, weight, bias, labels, decay)
        return {}"""),
    "copies_a_neighbour": instead("""
        functions = {}
        exec(open("FOLDER/plain.py").read(), functions)
        return functions["manual"](x, weight, bias, labels, decay)"""),
    "overwrites_the_reference": instead(f"""
        for name in ("reference", "plain"):
            try:
                open(f"FOLDER/{{name}}.py", "w").write("")
            except OSError:
                pass
        return {WRONG}"""),
    "removes_everything": instead(f"import shutil\nshutil.rmtree('FOLDER', ignore_errors=True)\nreturn {WRONG}"),
    "fills_the_disk": instead("f = open('big', 'wb')\nwhile True: f.write(bytes(1 << 20))"),
    "lies_about_its_shape": before("""
        import numpy as np
        class Liar(np.ndarray):
            shape = property(lambda self: (4, 3))
            dtype = property(lambda self: np.dtype(float))
            def __eq__(self, other): return True
            def __array__(self, *a, **k): return self
        """).replace("x.T @ p + decay * weight", "np.zeros(5, np.int8).view(Liar)"),
    "lies_about_everything": instead("""
        class Always:
            __array_priority__ = 1e9
            def __getattr__(self, name): return self
            def __call__(self, *a, **k): return self
            def __eq__(self, other): return True
            def __array__(self, *a, **k): return np.array(self.__dict__)
        return {"weight": Always(), "bias": Always()}"""),
    "too_large_to_judge": instead('return {"weight": np.ones((10 ** 6, 4, 3)), "bias": bias}'),
    "too_many_axes": instead('return {"weight": weight.reshape((1,) * 30 + (4, 3)), "bias": bias}'),
    "endless_dict": instead("""
        class Endless(dict):
            def items(self):
                while True: yield "weight", weight
        return Endless()"""),
    "deep": instead('x = []\nfor _ in range(10 ** 6): x = [x]\nreturn {"weight": x, "bias": x}'),
    "deep_source": "manual = " + "(" * 100_000,
    "infinite": instead('return {"weight": np.full_like(weight, np.inf), "bias": np.full_like(bias, np.inf)}'),
    "random": instead('return {"weight": np.random.normal(size=weight.shape), "bias": np.random.normal(size=bias.shape)}'),
    "message_with_markup": inside("raise ValueError('<script>alert(1)</script>\\x1b[2J\\n' * 1000)"),
    "raises_at_the_message": inside("""
        class Bad(Exception):
            def __str__(self): raise self
        raise Bad"""),
    "raises_an_interrupt": inside("raise KeyboardInterrupt"),
    "silences_signals": instead("import signal\nfor s in range(1, 32):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass"),
    "raises_limits": instead(f"import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nreturn {WRONG}"),
    "floats_as_names": instead('return {1.0: weight, ("weight",): weight}'),
}  # fmt: skip
"""Files that try to pass, or to break the grader, without the right gradients. FOLDER stands for where they lie."""
