import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_nepenthe.graph.view import view_from_model


def model(body, header='ir_version: 8, opset_import: ["" : 17, "mine" : 1]'):
    return ir.from_proto(onnx.parser.parse_model(f"<{header}> g {body}"))


def view(body, **header):
    return view_from_model(model(body, **header))


BRANCHES = """(bool c, float[N,2] x) => (float[N,2] y, float[N,2] h) {
  h = Relu(x)
  k = Neg(x)
  y = If (c) <
    then_branch = t () => (float[N,2] o) { o = Add(h, x) },
    else_branch = e () => (float[N,2] o2) {
      o2 = If (c) <then_branch = tt () => (float[N,2] p) { p = Abs(k) },
                   else_branch = ee () => (float[N,2] q) { q = Abs(x) }> }
  >
}"""


def test_operators_and_their_operands():
    seen = view(
        """(float[N,4] x) => (float[N,2] y) <float[4,2] w = {1,2,3,4,5,6,7,8}> {
          top = Constant <value_float = 6.0> ()
          a = Gemm <alpha = 2.0> (x, w)
          y = Clip(a, , top)
        }"""
    )
    constant, gemm, clip = seen.ops
    assert [op.op_type for op in seen.ops] == ["Constant", "Gemm", "Clip"]
    assert gemm.attributes == {"alpha": 2.0}
    assert gemm.constant(1).tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert gemm.output_shapes == (("N", 2),)
    assert clip.input(1) is None
    assert clip.constant(2) == np.float32(6)
    assert clip.input(0).producer is gemm
    assert clip.input(0).shape == ("N", 2)
    assert clip.version == 17
    assert seen.op_of("y") is clip
    assert seen.op_of("x") is None
    assert seen.op_of("nobody") is None
    assert constant.key == "top"


def test_inputs_outputs_and_consumers():
    seen = view(
        "(float[2] x, float[2] unused) => (float[2] y, float[2] y) <float[2] w = {1,2}> { a = Mul(x, w) y = Add(a, a) }"
    )
    assert seen.inputs == ("x", "unused")
    assert seen.outputs == ("y", "y")
    assert seen.consumers == {"x": (0,), "w": (0,), "a": (1, 1)}
    assert seen.is_pinned("y")
    assert not seen.is_pinned("a")
    assert seen.opsets == {"": 17, "mine": 1}
    assert seen.ir_version == 8


def test_what_subgraphs_use_is_pinned():
    seen = view(BRANCHES)
    assert seen.captured >= {"h", "x", "k", "c"}
    assert seen.is_pinned("k")
    assert [op.has_subgraph for op in seen.ops] == [False, False, True]
    assert seen.ops[2].attributes == {}


@pytest.mark.parametrize(("version", "constant"), [(3, True), (4, False), (8, False)])
def test_a_weight_that_a_caller_may_feed_is_no_constant(version, constant):
    seen = view(
        "(float[2] x, float[2] w) => (float[2] y) <float[2] w = {1,2}> { y = Add(x, w) }",
        header=f'ir_version: {version}, opset_import: ["" : 9]',
    )
    assert (seen.ops[0].constant(1) is not None) is constant
    assert seen.inputs == (("x",) if constant else ("x", "w"))
    assert seen.overridable == (frozenset() if constant else {"w"})


def test_constants_are_found_through_what_only_moves_them():
    seen = view(
        """(float[2,3] x) => (float[2,3] y) <float[3] w = {1,2,3}, int64[1] axes = {0}, int64[2] s = {2,3}> {
          a = Identity(w)
          b = Unsqueeze(a, axes)
          c = ConstantOfShape <value = float[1] {5}> (s)
          d = Mul(x, b)
          y = Add(d, c)
        }"""
    )
    assert seen.ops[3].constant(1).tolist() == [[1, 2, 3]]
    assert seen.ops[4].constant(1).tolist() == [[5, 5, 5]] * 2
    assert seen.tensors["b"].shape == (1, 3)
    assert seen.tensors["b"].dtype == "float"


@pytest.mark.parametrize(
    ("data_type", "name"),
    [
        (TensorProto.FLOAT16, "float16"),
        (TensorProto.BFLOAT16, "bfloat16"),
        (TensorProto.DOUBLE, "double"),
        (TensorProto.INT8, "int8"),
        (TensorProto.BOOL, "bool"),
    ],
)
def test_types_have_onnx_names(data_type, name):
    seen = model("(float[2] x) => (float[2] y) { y = Relu(x) }")
    value = helper.make_tensor("t", data_type, [1], [1])
    proto = ir.to_proto(seen)
    proto.graph.node.append(helper.make_node("Constant", [], ["c"], value=value))
    proto.graph.initializer.append(value)
    seen = view_from_model(ir.from_proto(proto))
    assert (seen.tensors["t"].dtype, seen.tensors["c"].dtype) == (name, name)


def test_text_is_no_obstacle():
    proto = ir.to_proto(model("(float[2] x) => (float[2] y) { y = Relu(x) }"))
    text = helper.make_tensor("t", TensorProto.STRING, [1], [b"a"])
    proto.graph.initializer.append(text)
    proto.graph.node.append(helper.make_node("Constant", [], ["c"], value=text))
    proto.graph.node.append(helper.make_node("Constant", [], ["d"], value_strings=[b"a"]))
    seen = view_from_model(ir.from_proto(proto))
    assert seen.tensors["c"].dtype == "string"


def test_unknown_operators_leave_shapes_unknown():
    seen = view("(float[N,2] x) => (y) { h = mine.Unheard(x) y = Relu(h) }")
    assert seen.tensors["h"].shape is None
    assert seen.tensors["h"].rank is None
    assert seen.tensors["h"].dtype == ""
    assert seen.ops[0].domain == "mine"
    assert seen.ops[0].version == 1


def test_shapes_are_inferred_without_changing_the_model():
    given = model("(float[N,3,8,8] x, float[5,3,3,3] w) => (y) { c = Conv(x, w) y = Relu(c) }")
    before = ir.to_proto(given).SerializeToString()
    seen = view_from_model(given)
    assert seen.tensors["c"].shape == ("N", 5, 6, 6)
    assert ir.to_proto(given).SerializeToString() == before


def test_shapes_that_contradict_each_other_are_no_obstacle():
    seen = view("(float[2] x) => (float[7,7] y) { y = Relu(x) }")
    assert len(seen.ops) == 1


def test_omitted_outputs():
    seen = view("(float[2,3] x) => (float[2,3] y) { y, _ = Dropout(x) }")
    assert seen.ops[0].key == "y"
    proto = ir.to_proto(model("(float[2,3] x) => (y) { y = Relu(x) }"))
    proto.graph.node.insert(0, helper.make_node("TopK", ["x", "k"], ["", "i"]))
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1]), "k"))
    seen = view_from_model(ir.from_proto(proto))
    assert seen.ops[0].outputs == ("", "i")
    assert seen.ops[0].key == "i"
    assert "" not in seen.tensors


def test_negative_sizes_are_unknown_ones() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2, 3] x) => (float[2, 3] y) { y = Relu(x) }'
    )
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert view_from_model(ir.from_proto(model)).tensors["x"].shape == (None, 3)
