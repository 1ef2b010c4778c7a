"""What follows from a verdict, as this beamline wants it. Needs no hardware: python examples/own_policy.py"""

from streamer.frames import Decision, Reason, ReasonCode, Verdict
from streamer_plans.batch.policy import Blame, Case, Choice, Policy, Rule, decide

policy = Policy(
    retakes=1,
    rules={
        ReasonCode.MOTION: Rule(Choice.REJECT, Blame.SAMPLE),  # what moved once will move again
        ReasonCode.TRUNCATED: Rule(Choice.ACCEPT),  # local tomography is good enough here
    },
)

verdicts = [
    Verdict(Decision.RETAKE, (Reason(ReasonCode.MOTION, "the sample moved by 3 px"),), final=True),
    Verdict(Decision.ENOUGH, (Reason(ReasonCode.TRUNCATED, "the sample is wider than the detector"),), final=True),
]
for verdict in verdicts:
    action = decide(Case(verdict), policy)
    print(f"{action.choice}: {action.why}")
