"""Autograd: a graph of compiled nodes, walked backwards in the order of their sequence numbers.

A node is made after the nodes of its inputs, so its number is higher; taking the highest number first therefore meets every
node when all its gradients have arrived. The walk stays in C; it enters Python only for `Function`s and hooks.
"""
cimport cython
from cpython.ref cimport PyObject, Py_REFCNT
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport int64_t

from kernelgrad.core.memory cimport Storage
from kernelgrad.core.array cimport Array, DENSE, new_like, same_shape, same_strides, shape_tuple
from kernelgrad.core.copying cimport copy_into
from kernelgrad.core.dtypes cimport FLOAT32

import functools

cdef extern from *:
    """
    #if defined _MSC_VER
    static __declspec(thread) int kg_grad_mode = 1;
    #else
    static _Thread_local int kg_grad_mode = 1;
    #endif
    """
    int kg_grad_mode

cdef int64_t next_sequence = 0
cdef object add_arrays = None         # out-of-place sum of two gradients, set by callers
cdef object add_into = None           # dst += src


def set_accumulators(add, into):
    global add_arrays, add_into
    add_arrays, add_into = add, into


# ---- Grad mode ----

cdef bint grad_enabled() noexcept nogil:
    return kg_grad_mode

cdef bint set_grad_enabled(bint on) noexcept nogil:
    global kg_grad_mode
    cdef bint before = kg_grad_mode
    kg_grad_mode = on
    return before


def is_grad_enabled():
    """Whether operations on this thread are recorded for backward."""
    return bool(kg_grad_mode)


cdef class GradMode:
    """Context manager and decorator that switches the recording of operations on this thread."""
    cdef bint mode
    cdef list before

    def __cinit__(self, *args, **kwargs):
        self.before = []

    def __enter__(self):
        self.before.append(bool(set_grad_enabled(self.mode)))
        return self

    def __exit__(self, *exc):
        set_grad_enabled(self.before.pop())

    def __call__(self, function):
        mode = bool(self.mode)

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            before = set_grad_enabled(mode)
            try:
                return function(*args, **kwargs)
            finally:
                set_grad_enabled(before)
        return wrapped


class no_grad(GradMode):
    """``with no_grad():`` or ``@no_grad()``: operations inside are not recorded."""

    def __init__(self, function=None):
        (<GradMode>self).mode = False

    def __new__(cls, function=None):
        self = super().__new__(cls)
        if function is not None:      # @no_grad without parentheses
            self.__init__()
            return self(function)
        return self


class enable_grad(GradMode):
    """``with enable_grad():`` records operations even inside ``no_grad``."""

    def __init__(self, function=None):
        (<GradMode>self).mode = True

    def __new__(cls, function=None):
        self = super().__new__(cls)
        if function is not None:
            self.__init__()
            return self(function)
        return self


class set_grad_mode(GradMode):
    """``set_grad_enabled(mode)``: acts at once, and as a context manager restores the mode before."""

    def __init__(self, mode):
        (<GradMode>self).mode = bool(mode)
        (<GradMode>self).before.append(bool(set_grad_enabled(bool(mode))))

    def __enter__(self):
        return self


# ---- Nodes ----

@cython.trashcan(True)
cdef class Node:
    def __cinit__(self):
        global next_sequence
        self.sequence = next_sequence
        next_sequence += 1
        self.outputs = 1

    cdef int apply(self) except -1:
        raise NotImplementedError(f"{self.label()} has no backward")

    cdef int release(self) except -1:
        return 0

    cdef str label(self):
        return type(self).__name__

    def name(self):
        """The op's name, as PyTorch shows it."""
        return self.label()

    @property
    def next_functions(self):
        """The nodes (or leaf arrays) of the inputs, with the number of their output, as PyTorch shows them."""
        nrs = self.edge_nrs or (0,) * len(self.edges)
        return tuple(zip(self.edges, nrs))

    def register_hook(self, hook):
        raise NotImplementedError("hooks on graph nodes are not supported: register the hook on the tensor")

    def __repr__(self):
        return f"<{self.label()}>"


cdef object edge_of(Array x):
    """What an op's node keeps of an input: its node, the leaf itself, or None if no gradient is wanted."""
    if not x.wants_grad:
        return None
    return x if x.node is None else x.node


cdef int connect(Node node, Array x, Array y, Array z) except -1:
    """The inputs of `node`; absent ones are None."""
    node.edges = (edge_of(x), None if y is None else edge_of(y), None if z is None else edge_of(z))
    if x.output_nr or (y is not None and y.output_nr) or (z is not None and z.output_nr):
        node.edge_nrs = (x.output_nr, 0 if y is None else y.output_nr, 0 if z is None else z.output_nr)
    return 0


cdef void record(Node node, Array out) noexcept:
    out.node = node
    out.wants_grad = True


cdef bint wanted(Node node, int i) noexcept:
    return node.edges[i] is not None


cdef int check_version(Array x, int64_t version, Node node) except -1:
    if x.storage.version != version:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"{node.label()} saved a tensor of shape {shape_tuple(x)} at version {version}, it is at version {x.storage.version} now; "
            "clone() it before changing it, or use the out-of-place form")
    return 0


# ---- The queue: a binary heap of nodes, highest sequence first ----

cdef class Walk:
    cdef PyObject **heap
    cdef int count, room
    cdef bint retain
    cdef dict captured        # (id of node, output) or id of leaf -> gradient, for autograd.grad
    cdef bint only_captured
    cdef Walk outer

    def __dealloc__(self):
        PyMem_Free(self.heap)

    cdef int push(self, Node node) except -1:
        cdef int i, parent
        cdef PyObject **bigger
        if self.count == self.room:
            bigger = <PyObject **>PyMem_Realloc(self.heap, (self.room * 2 + 16) * sizeof(PyObject *))
            if bigger == NULL:
                raise MemoryError
            self.heap = bigger
            self.room = self.room * 2 + 16
        i = self.count
        self.count += 1
        while i:
            parent = (i - 1) // 2
            if (<Node>self.heap[parent]).sequence >= node.sequence:
                break
            self.heap[i] = self.heap[parent]
            i = parent
        self.heap[i] = <PyObject *>node   # alive: its consumer's edges or the root hold it until it is popped
        node.queued = True
        return 0

    cdef Node pop(self):
        cdef Node top = <Node>self.heap[0], last
        cdef int i = 0, child
        self.count -= 1
        if self.count:
            last = <Node>self.heap[self.count]
            while True:
                child = 2 * i + 1
                if child >= self.count:
                    break
                if child + 1 < self.count and (<Node>self.heap[child + 1]).sequence > (<Node>self.heap[child]).sequence:
                    child += 1
                if (<Node>self.heap[child]).sequence <= last.sequence:
                    break
                self.heap[i] = self.heap[child]
                i = child
            self.heap[i] = <PyObject *>last
        top.queued = False
        return top


cdef Walk walk = None     # the backward pass under way


cdef int send(Node node, int i, Array g, bint owned) except -1:
    """Pass gradient g to input i of `node`. owned: nobody else holds g's memory, so a leaf may keep it."""
    cdef object edge = node.edges[i]
    cdef int nr
    if edge is None:
        return 0
    if isinstance(edge, Array):
        return accumulate(<Array>edge, g, owned)
    nr = 0 if node.edge_nrs is None else node.edge_nrs[i]
    return receive(<Node>edge, nr, g)


cdef int receive(Node node, int nr, Array g) except -1:
    cdef Array before
    if nr == 0:
        node.grad = g if node.grad is None else <Array>add_arrays(node.grad, g)
    else:
        if node.grads is None:
            node.grads = [None] * node.outputs
        before = node.grads[nr]
        node.grads[nr] = g if before is None else <Array>add_arrays(before, g)
    if not node.queued:
        walk.push(node)
    return 0


cdef int accumulate(Array leaf, Array g, bint owned) except -1:
    cdef Array own
    if leaf.hooks is not None:
        g = run_hooks(leaf.hooks, g)
        owned = False
    if walk.captured is not None:
        key = id(leaf)
        if key in walk.captured:
            before = walk.captured[key]
            walk.captured[key] = g if before is None else add_arrays(before, g)
        if walk.only_captured:
            return 0
    if leaf.grad_ is not None:
        add_into(leaf.grad_, g)
        return 0
    if owned and g.layout & DENSE and same_strides(leaf, g) and g.code == leaf.code:
        g.is_view = False
        leaf.grad_ = g
        return 0
    own = new_like(leaf, leaf.code)
    copy_into(own, g)
    leaf.grad_ = own
    return 0


cdef Array run_hooks(object hooks, Array g):
    for hook in list(hooks.values()):
        result = hook(g)
        if result is not None:
            g = result
    return g


cdef int run_node(Node node) except -1:
    """Apply one node; its upstream gradients are in node.grad and node.grads."""
    cdef int nr
    if node.released:
        raise RuntimeError(
            f"Trying to backward through the graph a second time: the saved tensors of {node.label()} have already been freed. "
            "Specify retain_graph=True in the first backward() if you need to go through the graph twice.")
    if node.hooks is not None:
        for nr, hooks in node.hooks.items():
            if nr == 0 and node.grad is not None:
                node.grad = run_hooks(hooks, node.grad)
            elif nr and node.grads is not None and node.grads[nr] is not None:
                node.grads[nr] = run_hooks(hooks, node.grads[nr])
    if walk.captured is not None:
        for nr in range(node.outputs):
            key = (id(node), nr)
            if key in walk.captured:
                walk.captured[key] = node.grad if nr == 0 else node.grads[nr] if node.grads is not None else None
    node.apply()
    node.grad = None
    node.grads = None
    if not walk.retain:
        node.release()
        node.released = True
    return 0


cdef int run(list roots, list grads, bint retain, dict captured, bint only_captured) except -1:
    global walk
    cdef Walk this = Walk()
    cdef Array root
    cdef Node node
    cdef bint before = set_grad_enabled(False)
    this.retain = retain
    this.captured = captured
    this.only_captured = only_captured
    this.outer = walk
    walk = this
    try:
        for root, g in zip(roots, grads):
            if root.node is None:
                accumulate(root, g, False)
            else:
                receive(<Node>root.node, root.output_nr, g)
        while this.count:
            node = this.pop()
            run_node(node)
    finally:
        while this.count:          # only after an error: leave no half-delivered gradients behind
            node = this.pop()
            node.grad = None
            node.grads = None
        walk = this.outer
        set_grad_enabled(before)
    return 0


cdef Array ones_like(Array x):
    cdef Array g = new_like(x, x.code)
    if x.size == 1 and x.on == 0 and x.code == FLOAT32:
        (<float *>g.data)[0] = 1
    else:
        from kernelgrad.core.copying import fill_
        fill_(g, 1)
    return g


cdef Array start_gradient(Array root, object gradient):
    cdef Array g
    if not root.wants_grad:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    if gradient is None:
        if root.size != 1:
            raise RuntimeError(f"grad can be implicitly created only for scalar outputs, got shape {shape_tuple(root)}: "
                               "pass gradient=, or reduce with .sum() or .mean() first")
        return ones_like(root)
    if not isinstance(gradient, Array):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(gradient).__name__}")
    g = gradient
    if not same_shape(root, g):
        raise RuntimeError(f"Mismatch in shape: grad_output has a shape of {shape_tuple(g)} and output has a shape of {shape_tuple(root)}.")
    if g.code != root.code:
        raise RuntimeError(f"Mismatch in dtype: gradient is {g.dtype}, output is {root.dtype}")
    return g


def backward(Array root not None, gradient=None, retain_graph=None, create_graph=False, inputs=None):
    """Accumulate the gradients of `root` into the leaves of its graph. See Tensor.backward."""
    if create_graph:
        raise NotImplementedError("backward(create_graph=True): kernelgrad has no gradients of gradients")
    g = start_gradient(root, gradient)
    if inputs is None:
        run([root], [g], bool(retain_graph), None, False)
        return
    inputs = [inputs] if isinstance(inputs, Array) else list(inputs)
    for x, found in zip(inputs, grad([root], inputs, [g], retain_graph, False, True)):
        if found is not None:
            (<Array>x).grad_ = found if (<Array>x).grad_ is None else add_arrays((<Array>x).grad_, found)


def grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, allow_unused=False):
    """Gradients of the sum of `outputs` with respect to `inputs`, without touching any ``.grad``.

    Parameters
    ----------
    outputs, inputs : Tensor or sequence of Tensors
    grad_outputs : matching sequence of upstream gradients (None where an output is a scalar)
    retain_graph : keep the saved tensors for another pass
    create_graph : not supported (NotImplementedError)
    allow_unused : return None for inputs that `outputs` do not depend on, instead of raising

    Returns
    -------
    tuple of Tensor (or None)
    """
    if create_graph:
        raise NotImplementedError("grad(create_graph=True): kernelgrad has no gradients of gradients")
    outputs = [outputs] if isinstance(outputs, Array) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Array) else list(inputs)
    if grad_outputs is None:
        grad_outputs = [None] * len(outputs)
    elif isinstance(grad_outputs, Array):
        grad_outputs = [grad_outputs]
    cdef dict captured = {}
    cdef Array x
    keys = []
    for x in inputs:
        if not x.wants_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
        key = id(x) if x.node is None else (id(x.node), x.output_nr)
        keys.append(key)
        captured[key] = None
    run(outputs, [start_gradient(o, g) for o, g in zip(outputs, grad_outputs)], bool(retain_graph), captured, True)
    result = tuple([captured[key] for key in keys])
    if not allow_unused and any([g is None for g in result]):
        raise RuntimeError("One of the differentiated Tensors appears to not have been used in the graph. "
                           "Set allow_unused=True if this is the desired behavior.")
    return result


# ---- Graph state of arrays, for Tensor ----

cdef class HookHandle:
    """Returned by register_hook; ``remove()`` takes the hook away."""
    cdef dict hooks
    cdef object key

    def remove(self):
        self.hooks.pop(self.key, None)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.remove()


cdef int64_t hook_count = 0


def register_hook(Array x not None, hook):
    """Call ``hook(grad)`` whenever the gradient of `x` is computed; what it returns, if not None, replaces the gradient."""
    global hook_count
    cdef Node node
    cdef HookHandle handle = HookHandle()
    if not x.wants_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if x.node is None:
        if x.hooks is None:
            x.hooks = {}
        handle.hooks = x.hooks
    else:
        node = x.node
        if node.hooks is None:
            node.hooks = {}
        handle.hooks = node.hooks.setdefault(x.output_nr, {})
    hook_count += 1
    handle.key = hook_count
    handle.hooks[handle.key] = hook
    return handle


def detach_(Array x not None):
    """Take `x` out of the graph in place."""
    x.node = None
    x.wants_grad = False
    x.output_nr = 0
    return x
