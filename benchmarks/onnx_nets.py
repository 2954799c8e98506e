"""A network of `nets` as an ONNX model, so that ONNX Runtime can be timed at it with the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import kernelgrad as kg


class Writer:
    """Walks a module of kernelgrad in the order of its forward and collects ONNX nodes; one method for each layer."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, tensor: Any) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(tensor.detach().numpy()), name))
        return name

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        out = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], **attributes))
        return out

    def module(self, module: Any, x: str) -> str:
        return str(getattr(self, type(module).__name__)(module, x))

    def Sequential(self, module: Any, x: str) -> str:
        for child in module:
            x = self.module(child, x)
        return x

    def Linear(self, module: Any, x: str) -> str:
        return self.node("Gemm", x, self.constant(module.weight), self.constant(module.bias), transB=1)

    def Conv2d(self, module: Any, x: str) -> str:
        inputs = [x, self.constant(module.weight)]
        if module.bias is not None:
            inputs.append(self.constant(module.bias))
        return self.node("Conv", *inputs, strides=list(module.stride), pads=list(module.padding) * 2)

    def BatchNorm2d(self, module: Any, x: str) -> str:
        values = (module.weight, module.bias, module.running_mean, module.running_var)
        return self.node("BatchNormalization", x, *map(self.constant, values), epsilon=module.eps)

    def ReLU(self, module: Any, x: str) -> str:
        return self.node("Relu", x)

    def MaxPool2d(self, module: Any, x: str) -> str:
        return self.node("MaxPool", x, kernel_shape=[module.kernel_size] * 2, strides=[module.stride] * 2)

    def AdaptiveAvgPool2d(self, module: Any, x: str) -> str:
        return self.node("GlobalAveragePool", x)

    def Flatten(self, module: Any, x: str) -> str:
        return self.node("Flatten", x)

    def Identity(self, module: Any, x: str) -> str:
        return x

    def Block(self, module: Any, x: str) -> str:
        out = self.ReLU(None, self.module(module.bn1, self.module(module.conv1, x)))
        out = self.module(module.bn2, self.module(module.conv2, out))
        return self.ReLU(None, self.node("Add", out, self.module(module.shortcut, x)))


def session(model: Any, shape: tuple[int, ...]) -> Any:
    """An ONNX Runtime session with kernelgrad's number of threads; its input is called "x"."""
    import onnxruntime

    writer = Writer()
    out = writer.module(model, "x")
    graph = helper.make_graph(
        writer.nodes,
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(out, onnx.TensorProto.FLOAT, None)],
        writer.constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = kg.get_num_threads()
    return onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
