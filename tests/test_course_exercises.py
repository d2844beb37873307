"""Every exercise of the course, by the same rules: what passes, what does not, and what is said."""

import inspect
import json
import re
import textwrap

import numpy as np
import pytest
import torch
from alternatives import RIGHT

import metarim_lite.course.declaring as declaration
from metarim_lite.cli_course import exercises as list_exercises
from metarim_lite.course import check
from metarim_lite.course.checks import EXERCISES, judge
from metarim_lite.course.declaring import Behaviour
from metarim_lite.course.probing import Answered, Output, probe
from metarim_lite.errors import UserError
from metarim_lite.experiments.ewc import ElasticWeights

COMPARED = {name: e for name, e in EXERCISES.items() if not isinstance(e, Behaviour)}
WRONG = [(e.name, m) for e in EXERCISES.values() for m in e.mistakes]


def seeds(exercise, count):
    """One is enough where an answer plays hundreds of levels."""
    return range(1 if isinstance(exercise, Behaviour) else count)


def ids(value):
    return getattr(getattr(value, "answer", value), "__name__", None)


@pytest.mark.parametrize("name", EXERCISES)
def test_the_reference_passes_and_a_stub_is_not_attempted(name):
    exercise = EXERCISES[name]

    def stub(*_):
        raise NotImplementedError("your code goes here")

    for seed in seeds(exercise, 3):
        assert judge(exercise, exercise.reference, seed).says == "passed"
    verdict = judge(exercise, stub)
    assert (verdict.passed, verdict.attempted) == (False, False) and "not attempted" in verdict.says


@pytest.mark.parametrize(("name", "mistake"), WRONG, ids=ids)
def test_every_wrong_answer_fails_with_its_own_sentence(name, mistake):
    exercise, with_size = EXERCISES[name], 0
    for seed in seeds(exercise, 4):
        verdict = judge(exercise, mistake.answer, seed)
        assert not verdict.passed and verdict.attempted
        with_size += verdict.says == mistake.says
        # where it makes no sense for some sizes, its shape is wrong there
        assert verdict.says == mistake.says or "has shape" in verdict.says or "returns None" in verdict.says
    assert with_size == len(seeds(exercise, 4)) or mistake.answer.__name__ == "keys_as_values"


@pytest.mark.parametrize(("name", "answer"), [(n, a) for n, answers in RIGHT.items() for a in answers], ids=ids)
def test_right_answers_written_another_way_pass(name, answer):
    for seed in seeds(EXERCISES[name], 5):
        assert judge(EXERCISES[name], answer, seed).says == "passed"


def test_a_gradient_of_zeros_and_none_at_all_are_the_same():
    """Two worlds, and both begin at once: h0 reaches nothing, and who goes world by world never touches it."""
    exercise = EXERCISES["masked_unroll"]
    seed = next(s for s in range(99) if exercise.draw(torch.Generator().manual_seed(s))[0].inputs["resets"][0].all())
    for answer in [exercise.reference, *RIGHT["masked_unroll"]]:
        assert judge(exercise, answer, seed).says == "passed"


@pytest.mark.parametrize("name", [n for n, e in COMPARED.items() if "W_q" in e.inputs])
def test_no_competition_among_drawn_modules_is_decided_by_rounding(name):
    """Where a softmax has rounded to 0 or 1, weights tie that scores tell apart: both ways to rank are right."""
    for seed in range(100):
        for case in EXERCISES[name].draw(torch.Generator().manual_seed(seed)):
            if not case.extreme:
                given = [case.inputs[key] for key in ("h", "x", "W_q", "W_e", "W_v")]
                on_null = EXERCISES["input_attention"](*given)[0][..., 0].sort(1).values
                assert (on_null.diff(dim=1) > 0).all()


def test_there_are_at_least_thirty_exercises_and_120_wrong_answers():
    assert len(EXERCISES) >= 30 and len(WRONG) >= 120


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_has_all_that_it_needs(name):
    exercise = EXERCISES[name]
    assert len(RIGHT[name]) >= 2 and len(exercise.mistakes) >= 3 and len(exercise.hints) == 3 and exercise.formula
    assert len({m.says for m in exercise.mistakes}) == len(exercise.mistakes)
    assert all(m.says[0].islower() and m.says[-1] in ".)" for m in exercise.mistakes)
    assert 1 <= exercise.difficulty <= 5 and 1 <= exercise.importance <= 5 and exercise.points >= 1


def filled(exercise, case, number):
    """Outputs of the right shape and type that hold the same number everywhere."""
    made = []
    for output in exercise.outputs:
        full = torch.full(output.sizes(case.letters), number)
        kinds = {"number": torch.float32, "whole": torch.int64, "flag": torch.bool}
        if output.entries == "text":
            made.append(str(number))
        elif output.container == "plain":
            made.append(float(number))
        else:
            full = full.to(kinds[output.entries])
            made.append(full.numpy().astype(full.numpy().dtype) if output.container == "array" else full)
    return tuple(made) if len(made) > 1 else made[0]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", COMPARED)
def test_no_constant_passes(name, number):
    exercise = COMPARED[name]
    for seed in range(3):
        cases = iter(exercise.draw(torch.Generator().manual_seed(seed)))
        verdict = judge(exercise, lambda *_, c=cases: filled(exercise, next(c), number), seed)
        assert not verdict.passed and verdict.attempted, verdict


@pytest.mark.parametrize("name", COMPARED)
def test_no_right_answer_to_other_inputs_and_no_echo_passes(name):
    exercise = COMPARED[name]
    first = exercise.draw(torch.Generator().manual_seed(7))[0]
    frozen = exercise.reference(**first.copied())
    assert not judge(exercise, lambda *_: frozen, 8).passed
    count = len(exercise.outputs)
    for i in range(len(exercise.inputs)):
        assert not judge(exercise, lambda *a, i=i: a[i] if count == 1 else (a[i],) * count, 8).passed


@pytest.mark.parametrize("name", COMPARED)
def test_an_answer_that_changes_its_arguments_fails(name):
    exercise = COMPARED[name]
    for argument, value in exercise.draw(torch.Generator().manual_seed(0))[0].inputs.items():
        if not isinstance(value, (torch.Tensor, np.ndarray)):
            continue

        def spoiler(*args, argument=argument):
            given = dict(zip(exercise.inputs, args, strict=True))
            answer = exercise.reference(**given)
            with torch.no_grad():
                changed = given[argument]
                changed[...] = ~changed if changed.dtype in (torch.bool, np.bool_) else changed + 1
            return answer

        assert f"`{argument}` in place" in judge(exercise, spoiler).says


@pytest.mark.parametrize("name", [n for n, e in COMPARED.items() if e.gradient])
def test_where_gradient_matters_a_detached_answer_fails(name):
    exercise = COMPARED[name]

    def detached(*args):
        answer = exercise.reference(*args)
        return tuple(x.detach() for x in answer) if isinstance(answer, tuple) else answer.detach()

    assert "no gradient flows back" in judge(exercise, detached).says


@pytest.mark.parametrize("name", COMPARED)
def test_a_dtype_or_a_shape_that_broadcasts_and_nan_are_refused(name):
    exercise = COMPARED[name]
    if exercise.outputs[0].container == "plain":
        return

    def with_first(change):
        def answer(*args):
            right = exercise.reference(*args)
            return (change(right[0]), *right[1:]) if isinstance(right, tuple) else change(right)

        return judge(exercise, answer).says

    assert "has shape" in with_first(lambda x: x[None])
    says = with_first(lambda x: x.tolist())
    assert "is a list" in says or "is a float" in says or "returns" in says
    if exercise.outputs[0].entries == "number":
        assert "NaN" in with_first(lambda x: x * float("nan"))
    elif exercise.outputs[0].entries == "flag":
        assert "True and False" in with_first(lambda x: x * 1)


@pytest.mark.parametrize("name", COMPARED)
def test_a_judge_needs_nothing_of_an_answer_but_plain_arrays(name):
    """So that the answer may work in another process: what it gave is sent as bytes, shape and dtype."""
    exercise = COMPARED[name]

    def sent(x):
        if isinstance(x, (tuple, list)):
            return tuple(map(sent, x))
        if isinstance(x, (torch.Tensor, np.ndarray)):
            array = x.detach().numpy() if isinstance(x, torch.Tensor) else x
            there = np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape).copy()
            return torch.from_numpy(there) if isinstance(x, torch.Tensor) else there
        return x

    for answer, passes in ((exercise.reference, True), (exercise.mistakes[-1].answer, False)):
        cases = exercise.draw(torch.Generator().manual_seed(3))
        answered = [probe(answer, case, exercise.outputs) for case in cases]
        gradients = [{n: None if g is None else sent(g) for n, g in a.gradients.items()} for a in answered]
        answered = [Answered(sent(a.result), g, a.cut) for a, g in zip(answered, gradients, strict=True)]
        assert exercise.compare(cases, answered).passed == passes


def test_objects_that_claim_to_equal_everything_are_refused():
    class Agreeable(torch.Tensor):
        def __eq__(self, other):
            return torch.ones_like(self, dtype=torch.bool)

    def agreeable(h, W):
        return torch.zeros_like(h).as_subclass(Agreeable)

    assert "is a Agreeable; it should be a torch.Tensor" in judge(EXERCISES["blocks"], agreeable).says


def test_an_exercise_of_ones_own_takes_twenty_lines():
    text = re.search(r"\n(    from jaxtyping.*?)\n\nIn the notebook", declaration.__doc__, re.S)[1]
    code = textwrap.dedent(text)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    space = {}
    exec(compile(code, "<my exercises>", "exec"), space)
    centre = space["centre"]
    check(centre, lambda x: x - x.mean(1, keepdim=True))
    assert "mean over the batch" in judge(centre, lambda x: x - x.mean(0, keepdim=True)).says
    assert "one mean over all" in judge(centre, lambda x: x - x.mean()).says
    assert centre.formula == r"$y_{bd} = x_{bd} - \frac1D\sum_d x_{bd}$"


def test_a_declaration_that_does_not_fit_is_refused():
    def two(x: "int") -> "tuple[int, int]":
        return x, x

    with pytest.raises(UserError, match="two returns 2 things, named are 1"):
        declaration.exercise("9.9", "Two", lesson="x", returns="one")(two)


def test_the_penalty_is_that_of_the_package_s_elastic_weights():
    case = EXERCISES["ewc_penalty"].draw(torch.Generator().manual_seed(0))[0].inputs
    agent = torch.nn.ParameterDict({"theta": torch.nn.Parameter(case["anchor"].clone())})
    springs = ElasticWeights(agent, [], case["strength"])
    fisher, penalty = EXERCISES["ewc_penalty"](*case.values())
    springs.hold({"theta": fisher})
    agent["theta"].data.copy_(case["theta"])
    torch.testing.assert_close(springs.penalty(), penalty)


def test_sizes_of_a_case_differ_and_follow_sums():
    for exercise in COMPARED.values():
        assert all(isinstance(o, Output) for o in exercise.outputs)
    assert Output("x", ("T+1", "N*H", "2")).sizes({"T": 3, "N": 4, "H": 5}) == (4, 20, 2)


def test_the_list_of_exercises_is_a_line_of_json_for_each(capsys):
    list_exercises(json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["exercise"] for line in lines] == list(EXERCISES)
    assert lines == sorted(lines, key=lambda line: line["title"])
    keys = ["lesson", "exercise", "title", "difficulty", "importance", "minutes", "points", "mistakes"]
    assert all(list(line) == keys and line["mistakes"] >= 3 for line in lines)
    list_exercises()
    assert "3.1 input_attention" in capsys.readouterr().out


def test_a_reference_has_types_for_all_arguments():
    for exercise in EXERCISES.values():
        assert list(exercise.inputs) == list(inspect.signature(exercise.reference).parameters)


def test_parameters_that_are_called_alike_are_counted_apart():
    """A real agent's encoder has several layers, whose weights have one short name."""
    names = ["encoder.weight", "encoder.weight", "modules.W_in"]
    assert EXERCISES["split_parameters"].reference(names, ["modules"], ["encoder"]).tolist() == [2, 2, 1]
