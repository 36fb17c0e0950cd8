"""The candidate graph: the steps of one candidate as a LangGraph graph."""

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from graph.decide import DecideNodes
from graph.evaluate import EvaluateNode
from graph.propose import ProposeNodes
from graph.routing import (
    after_adopt,
    after_code,
    after_evaluate,
    after_judge,
    after_plan,
    after_review,
)
from graph.services import Services
from graph.state import CandidateState

CandidateGraph = CompiledStateGraph[CandidateState, None, CandidateState, CandidateState]


def build_candidate_graph(services: Services) -> CandidateGraph:
    """plan → code → review ⇄ code → evaluate ⇄ code → judge → adopt | reject → record.

    There are no checkpoints: the ledger is one. A resumed candidate enters the graph at its start,
    and every node looks for its own events first, so that no model call and no measurement is
    repeated.
    """
    propose, test, decide = (
        ProposeNodes(services),
        EvaluateNode(services),
        DecideNodes(services),
    )
    bounds = services.bounds
    builder = StateGraph(CandidateState)
    builder.add_node("plan", propose.plan)
    builder.add_node("code", propose.code)
    builder.add_node("review", propose.review)
    builder.add_node("evaluate", test.evaluate)
    builder.add_node("judge", decide.judge)
    builder.add_node("adopt", decide.adopt)
    builder.add_node("reject", decide.reject)
    builder.add_node("record", decide.record)
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", after_plan, ["code", "reject"])
    builder.add_conditional_edges("code", after_code(bounds), ["review", "code", "reject"])
    builder.add_conditional_edges("review", after_review(bounds), ["evaluate", "code", "reject"])
    builder.add_conditional_edges("evaluate", after_evaluate(bounds), ["judge", "code", "reject"])
    builder.add_conditional_edges("judge", after_judge, ["adopt", "reject"])
    builder.add_conditional_edges("adopt", after_adopt, ["judge", "record"])
    builder.add_edge("reject", "record")
    builder.add_edge("record", END)
    return builder.compile()
