"""Views that place and show orders."""

import json

from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from orders.models import Order
from orders.tasks import confirm


@csrf_exempt
@require_POST
@transaction.atomic
def place(request: HttpRequest) -> HttpResponse:
    """Place an order; the order and its task are committed together, or neither is."""
    buyer = json.loads(request.body)["buyer"]
    order = Order.objects.create(buyer=buyer[:100])
    result = confirm.enqueue(order.pk)
    if not buyer:
        transaction.set_rollback(True)
        return HttpResponseBadRequest("an order must have a buyer")
    return JsonResponse({"number": order.pk, "result": result.id}, status=201)


def show(_request: HttpRequest, number: int) -> HttpResponse:
    """Show an order."""
    return JsonResponse({"status": get_object_or_404(Order, pk=number).status})


def result(_request: HttpRequest, result_id: str) -> HttpResponse:
    """Show the state of a task."""
    found = confirm.get_result(result_id)
    return JsonResponse({"status": found.status, "value": found.return_value if found.is_finished else None})
