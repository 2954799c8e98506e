"""All public functions on tensors, one module per family."""

import importlib

FAMILIES = ("creation elementwise math activations reduction matmul shape gathering indexing sorting conv pooling normalization softmax loss embedding random").split()
for _family in FAMILIES:
    try:
        _module = importlib.import_module(f"kernelgrad.ops.{_family}")
    except ModuleNotFoundError as error:
        if error.name != f"kernelgrad.ops.{_family}":
            raise
        continue
    if hasattr(_module, "__all__"):
        globals().update({_name: getattr(_module, _name) for _name in _module.__all__})
        continue
    for _name, _value in vars(_module).items():
        if not _name.startswith("_") and getattr(_value, "__module__", _module.__name__) in (_module.__name__, "kernelgrad.core.callers"):
            if not isinstance(_value, type) and callable(_value):
                globals()[_name] = _value
