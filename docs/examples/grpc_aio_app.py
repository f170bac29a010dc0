"""gRPC on asyncio: the same, by the interceptor for its kind of server."""

import grpc

from canary_sdk import connect
from canary_sdk.integrations.grpc import AsyncCanaryInterceptor

canary = connect()
canary.apply({"flags": {"new-checkout": {"rollout": 50, "slos": ["p95 < 500ms", "errors < 1%"]}}})


def user_of(call):
    return dict(call.invocation_metadata).get("x-user")


async def pay(request, context):
    return b"new" if canary.is_enabled("new-checkout") else b"old"


async def serve(address):
    server = grpc.aio.server(interceptors=[AsyncCanaryInterceptor(canary=canary, key=user_of)])
    server.add_registered_method_handlers("shop.Checkout", {"Pay": grpc.unary_unary_rpc_method_handler(pay)})
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()
