"""Function: operations whose forward and backward are written in Python, the library's own of that kind and the users'."""
from cpython.ref cimport Py_REFCNT

from kernelgrad.core.array cimport Array, alias, shape_tuple
from kernelgrad.core.dtypes cimport BFLOAT16, FLOAT32, FLOAT64
from kernelgrad.core.graph cimport Node, check_version, send, set_grad_enabled
from kernelgrad.core.memory cimport Storage

from kernelgrad.core.copying import zeros


cdef class FunctionNode(Node):
    """The `ctx` of a Function: what forward leaves for backward."""
    cdef object function
    cdef tuple saved
    cdef tuple versions
    cdef readonly tuple needs_input_grad
    cdef dict __dict__
    cdef list shapes          # of the outputs, for missing upstream gradients
    cdef bint materialize
    cdef set not_differentiable
    cdef tuple dirty

    def __cinit__(self):
        self.materialize = True

    cdef str label(self):
        return self.function.__name__ + "Backward"

    def save_for_backward(self, *arrays):
        """Keep arrays for backward; changing one in place before then is noticed."""
        for a in arrays:
            if a is not None and not isinstance(a, Array):
                raise TypeError(f"save_for_backward can only save tensors, but argument is of type {type(a).__name__}; keep it as an "
                                "attribute of ctx")
        self.saved = arrays

    def mark_non_differentiable(self, *arrays):
        self.not_differentiable = {id(a) for a in arrays}

    def mark_dirty(self, *arrays):
        self.dirty = arrays

    def set_materialize_grads(self, value):
        self.materialize = bool(value)

    @property
    def saved_tensors(self):
        if self.released:
            raise RuntimeError(f"{self.label()}: saved tensors have already been freed; use retain_graph=True in the first backward()")
        if self.saved is None:
            return ()
        if self.versions is not None:
            for i in range(len(self.saved)):
                if self.saved[i] is not None:
                    check_version(<Array>self.saved[i], self.versions[i], self)
        return self.saved

    cdef int release(self) except -1:
        self.saved = None
        return 0

    cdef int apply(self) except -1:
        cdef Array g
        cdef Storage memory
        cdef int i
        cdef tuple results
        if self.outputs == 1:
            result = self.function.backward(self, self.grad)
        else:
            upstream = self.grads if self.grads is not None else [None] * self.outputs
            upstream = [self.grad] + list(upstream[1:])
            if self.materialize:
                for i in range(self.outputs):
                    if upstream[i] is None and self.shapes[i] is not None:
                        upstream[i] = zeros_of(self.shapes[i])
            result = self.function.backward(self, *upstream)
            upstream = None
        if type(result) is tuple:
            results = <tuple>result
        else:
            results = (result,)
        result = None
        if len(results) > len(self.edges) and all([r is None for r in results[len(self.edges):]]):
            results = results[:len(self.edges)]
        if len(results) != len(self.edges):
            raise RuntimeError(f"function {self.label()} returned an incorrect number of gradients (expected {len(self.edges)}, got {len(results)})")
        for i in range(len(results)):
            if results[i] is None or self.edges[i] is None:
                continue
            if not isinstance(results[i], Array):
                raise TypeError(f"{self.label()}: expected Tensor or None as gradient {i}, got {type(results[i]).__name__}")
            g = <Array>results[i]
            expected = self.metadata["shapes"][i]
            if shape_tuple(g) != expected:
                raise RuntimeError(f"Function {self.label()} returned an invalid gradient at index {i} - got {list(shape_tuple(g))} but expected "
                                   f"shape compatible with {list(expected)}")
            memory = g.storage
            # held by the tuple and by g alone, its memory by it (and `memory`) alone: a leaf may keep it
            send(self, i, g, Py_REFCNT(g) <= 2 and Py_REFCNT(memory) <= 2)
        return 0


cdef Array zeros_of(tuple description):
    return zeros(description[0], description[1], description[2])


class Function:
    """An operation with its own backward; subclass it with two static methods, as in PyTorch.

    ``forward(ctx, *args)`` computes with plain arrays (grad mode is off inside) and may keep arrays with
    ``ctx.save_for_backward`` or anything else as attributes of ctx. ``backward(ctx, *grad_outputs)`` returns one gradient, or
    None, for each argument of forward. Call it with ``MyFunction.apply(*args)``.
    """

    @staticmethod
    def forward(ctx, *args):
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx, *grad_outputs):
        raise NotImplementedError("You must implement the backward function for custom autograd.Function.")

    @classmethod
    def apply(cls, *args):
        return apply_function(cls, args)


cdef object apply_function(object cls, tuple args):
    cdef FunctionNode node = FunctionNode.__new__(FunctionNode)
    cdef Array x, y
    cdef bint needed = False, before
    cdef int i, n = len(args)
    cdef list edges = [None] * n, nrs = None, needs = [False] * n
    before = set_grad_enabled(False)
    try:
        if before:
            for i in range(n):
                if isinstance(args[i], Array):
                    x = <Array>args[i]
                    if x.wants_grad:
                        needed = True
                        needs[i] = True
                        edges[i] = x if x.node is None else x.node
                        if x.output_nr:
                            if nrs is None:
                                nrs = [0] * n
                            nrs[i] = x.output_nr
        node.function = cls
        node.needs_input_grad = tuple(needs)
        result = cls.forward(node, *args)
    finally:
        set_grad_enabled(before)
    if not needed:
        return result
    node.edges = tuple(edges)
    node.edge_nrs = None if nrs is None else tuple(nrs)
    node.metadata = {"shapes": [shape_tuple(<Array>a) if isinstance(a, Array) else None for a in args]}
    if isinstance(result, Array):
        outputs = (result,)
    else:
        outputs = tuple(result)
        node.outputs = len(outputs)
        node.shapes = [None] * node.outputs
    fresh = []
    for i in range(len(outputs)):
        if not isinstance(outputs[i], Array):
            fresh.append(outputs[i])
            continue
        y = <Array>outputs[i]
        if node.not_differentiable is not None and id(y) in node.not_differentiable:
            fresh.append(y)
            continue
        if node.outputs > 1:
            node.shapes[i] = (shape_tuple(y), y.dtype, y.device)
        if not (y.code == FLOAT32 or y.code == FLOAT64 or y.code == BFLOAT16):
            fresh.append(y)
            continue
        if node.dirty is not None and any([y is d for d in node.dirty]):
            if y.node is None and y.wants_grad:
                raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        elif any([y is a for a in args]):
            y = alias(y)        # forward returned its input: the input keeps its own place in the graph
        y.node = node
        y.output_nr = i
        y.wants_grad = True
        fresh.append(y)
    if node.saved is not None:
        # An output among the saved would make a cycle (output -> node -> output): keep an alias outside the graph instead.
        saved = []
        versions = []
        for a in node.saved:
            if isinstance(a, Array):
                if (<Array>a).node is node:
                    a = alias(<Array>a)
                versions.append((<Array>a).storage.version)
            else:
                versions.append(0)
            saved.append(a)
        node.saved = tuple(saved)
        node.versions = tuple(versions)
    if isinstance(result, Array):
        return fresh[0]
    if type(result) is tuple or type(result) is list:
        return tuple(fresh)
    return type(result)(*fresh)      # a named tuple
