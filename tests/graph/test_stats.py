import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.graph.stats import ModelSize, model_size
from onnx_nepenthe.graph.view import view_from_model


def size(body, dims=None, header='ir_version: 8, opset_import: ["" : 17, "mine" : 1]'):
    proto = onnx.parser.parse_model(f"<{header}> g {body}")
    return model_size(view_from_model(ir.from_proto(proto)), dims)


def test_an_empty_graph():
    assert size("(float[2] x) => (float[2] x) {}") == ModelSize(0, 0, 0, 0, 0, 0)


CONV = """(float[N,2,8,8] x, float[4,1,3,3] w) => (float[N,4,6,6] y) {
  y = Conv <group = 2> (x, w)
}"""


def test_macs_follow_the_symbols():
    assert size(CONV, {"N": 5}).macs == 5 * 4 * 6 * 6 * 9
    assert size(CONV) == ModelSize(1, 0, 0, 1, None, 1)


@pytest.mark.parametrize(
    ("body", "macs"),
    [
        ("(float[1,3,5,5] x, float[3,2,3,3] w) => (y) { y = ConvTranspose(x, w) }", 3 * 25 * 2 * 9),
        ("(float[7,3] x, float[3,5] w) => (y) { y = Gemm(x, w) }", 7 * 5 * 3),
        ("(float[3,7] x, float[5,3] w) => (y) { y = Gemm <transA = 1, transB = 1> (x, w) }", 7 * 5 * 3),
        ("(float[2,4,3] x) => (y) <float[3,2] w = {1,2,3,4,5,6}> { y = MatMul(x, w) }", 2 * 4 * 2 * 3),
        ("(float[3,4] x) => (y) <float[3] w = {1,2,3}> { y = MatMul(w, x) }", 4 * 3),
        ("(float[4,3] x) => (y) <float[3] w = {1,2,3}> { y = MatMul(x, w) }", 4 * 3),
        ("(float[4,3] x) => (y) { t = Transpose(x) y = MatMul(x, t) }", 0),
        ("(float[4,3] x) => (y) { y = mine.Conv(x, x) }", 0),
    ],
)
def test_macs(body, macs):
    assert size(body).macs == macs


def test_quantised_weights_count():
    body = (
        "(float[4,3] x) => (y) <int8[3,1] q = {1,2,3}, float s = {2}> { w = DequantizeLinear(q, s) y = MatMul(x, w) }"
    )
    counted = size(body)
    assert (counted.weighted_depth, counted.macs) == (1, 12)
    assert (counted.parameters, counted.weight_bytes) == (1, 7)


def test_parameters_are_those_in_use():
    counted = size(
        """(float[2] x, bool c) => (float[2] y)
        <float[2] used = {1,2}, float[9] dead = {1,2,3,4,5,6,7,8,9}, int64[1] shape = {2}, float[3] inner = {1,2,3}> {
          a = Constant <value_floats = [1.0, 2.0]> ()
          b = Identity(used)
          d = Add(a, b)
          e = Reshape(d, shape)
          f = Add(x, e)
          y = If (c) <then_branch = t () => (float[2] p) { p = Identity(f) },
                      else_branch = s () => (float[3] q) { q = Identity(inner) }>
        }"""
    )
    assert (counted.nodes, counted.parameters, counted.weight_bytes) == (6, 7, 8 + 8 + 12 + 8)


def test_weights_that_are_inputs_count():
    body = "(float[2] x, float[2] w) => (float[2] y) <float[2] w = {1,2}> { y = Mul(x, w) }"
    for version in (3, 8):
        counted = size(body, header=f'ir_version: {version}, opset_import: ["" : 9]')
        assert (counted.parameters, counted.weight_bytes) == (2, 8)


def test_half_precision_takes_two_bytes():
    body = "(float16[2] x) => (float16[2] y) <float16[2] w = {1,2}> { y = Mul(x, w) }"
    assert size(body).weight_bytes == 4


def test_depth_is_that_of_the_longest_path():
    counted = size(
        """(float[1,2,8,8] x, float[2,2,1,1] w) => (y) {
          a = Conv(x, w)
          b = Relu(a)
          c = Conv(b, w)
          d = Conv(x, w)
          y = Add(c, d)
        }"""
    )
    assert counted.weighted_depth == 2
    assert counted.macs == 3 * 2 * 64 * 2
