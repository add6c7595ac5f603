"""Writes the small ONNX models that the runtime tests load.

    python make_models.py tests/data
"""
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto as T, helper as h, numpy_helper as nh

OUT = pathlib.Path(sys.argv[1])


def value(name, dtype, dims):
    return h.make_tensor_value_info(name, dtype, dims)


def save(name, nodes, inputs, outputs, weights=(), **save_options):
    graph = h.make_graph(nodes, name, inputs, outputs, list(weights))
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    (OUT / f"{name}.data").unlink(missing_ok=True)
    onnx.save(model, OUT / f"{name}.onnx", **save_options)


def linear():
    weight = np.arange(12, dtype=np.float32).reshape(3, 4) / 8
    bias = np.array([1, -1, 0.5, 2], dtype=np.float32)
    nodes = [h.make_node("MatMul", ["x", "w"], ["p"]), h.make_node("Add", ["p", "b"], ["y"])]
    weights = [nh.from_array(weight, "w"), nh.from_array(bias, "b")]
    return nodes, [value("x", T.FLOAT, [2, 3])], [value("y", T.FLOAT, [2, 4])], weights


save("linear", *linear())
save("external", *linear(), save_as_external_data=True, location="external.data", size_threshold=0)
save(
    "symbolic",
    [h.make_node("MatMul", ["a", "b"], ["c"])],
    [value("a", T.FLOAT, ["rows", "inner"]), value("b", T.FLOAT, ["inner", 2])],
    [value("c", T.FLOAT, ["rows", 2])],
)
save(
    "gather",
    [h.make_node("Gather", ["table", "ids"], ["rows"])],
    [value("ids", T.INT64, [1, "tokens"])],
    [value("rows", T.FLOAT, [1, "tokens", 2])],
    [nh.from_array(np.arange(8, dtype=np.float32).reshape(4, 2), "table")],
)
save(
    "select",
    [h.make_node("Where", ["mask", "yes", "no"], ["picked"])],
    [value("mask", T.BOOL, [4]), value("yes", T.FLOAT, [4]), value("no", T.FLOAT, [4])],
    [value("picked", T.FLOAT, [4])],
)
save(
    "types",
    [
        h.make_node("Identity", [f"{n}_in"], [f"{n}_out"])
        for n in ("f32", "f16", "bf16", "i64", "i32", "u8", "bool")
    ],
    [value(f"{n}_in", t, [2]) for n, t in dict(f32=T.FLOAT, f16=T.FLOAT16, bf16=T.BFLOAT16, i64=T.INT64, i32=T.INT32, u8=T.UINT8, bool=T.BOOL).items()],
    [value(f"{n}_out", t, [2]) for n, t in dict(f32=T.FLOAT, f16=T.FLOAT16, bf16=T.BFLOAT16, i64=T.INT64, i32=T.INT32, u8=T.UINT8, bool=T.BOOL).items()],
)
save(
    "double",
    [h.make_node("Identity", ["x"], ["y"])],
    [value("x", T.DOUBLE, [2])],
    [value("y", T.DOUBLE, [2])],
)
save("unused", *linear()[:3], [*linear()[3], nh.from_array(np.zeros(2, np.float32), "unused_weight")])
save(
    "sized",
    [h.make_node("ConstantOfShape", ["shape"], ["y"], value=nh.from_array(np.array([1.5], np.float32)))],
    [value("shape", T.INT64, [1])],
    [value("y", T.FLOAT, ["size"])],
)
