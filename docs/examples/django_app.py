"""Django under WSGI and ASGI: sync and async views, a template tag. One file stands for the usual four."""

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.template import engines
from django.urls import path

from canary_sdk import connect
from canary_sdk.integrations import asgi, wsgi

canary = connect()
canary.apply({"flags": {"new-checkout": {"rollout": 50, "slos": ["p95 < 500ms", "errors < 1%"]}}})

# --- settings.py ---

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    CANARY=canary,
    MIDDLEWARE=["canary_sdk.integrations.django.RouteMiddleware"],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {"libraries": {"canary": "canary_sdk.integrations.django_tags"}},
        }
    ],
)
django.setup()

# --- views.py and urls.py ---


def checkout(request, cart):
    is_new = settings.CANARY.is_enabled("new-checkout", request.headers.get("x-user"))
    return JsonResponse({"checkout": "new" if is_new else "old"})


async def checkout_async(request, cart):
    return checkout(request, cart)


def page(request):
    text = '{% load canary %}{% flag "new-checkout" as is_new %}{{ is_new|yesno:"new,old" }}'
    return HttpResponse(engines["django"].from_string(text).render({}, request))


urlpatterns = [path("checkout/<int:cart>", checkout), path("async/<int:cart>", checkout_async), path("page", page)]

# --- wsgi.py and asgi.py ---

application = wsgi.CanaryMiddleware(
    get_wsgi_application(), canary=canary, key=lambda environ: environ.get("HTTP_X_USER")
)
app = asgi.CanaryMiddleware(
    get_asgi_application(),
    canary=canary,
    key=lambda scope: dict(scope["headers"]).get(b"x-user", b"").decode() or None,
)
