"""gRPC: an interceptor, first of all; a call is a unit of work, and its method is its route."""

from concurrent.futures import ThreadPoolExecutor

import grpc

from canary_sdk import connect
from canary_sdk.integrations.grpc import CanaryInterceptor

canary = connect()
canary.apply({"flags": {"new-checkout": {"rollout": 50, "slos": ["p95 < 500ms", "errors < 1%"]}}})


def user_of(call):
    return dict(call.invocation_metadata).get("x-user")


def pay(request, context):
    return b"new" if canary.is_enabled("new-checkout") else b"old"


server = grpc.server(ThreadPoolExecutor(8), interceptors=[CanaryInterceptor(canary=canary, key=user_of)])
server.add_registered_method_handlers("shop.Checkout", {"Pay": grpc.unary_unary_rpc_method_handler(pay)})
