"""The tasks of orders. Workers find them because this module is named ``tasks``."""

from django_tasks import TaskContext, task  # from Django 6.0 on: django.tasks

from orders.models import Order


@task(queue_name="mail")
def confirm(number: int) -> str:
    """Confirm an order."""
    order = Order.objects.get(pk=number)
    order.status = "confirmed"
    order.save()
    return f"confirmed to {order.buyer}"


@task(priority=50)
async def count(status: str) -> int:
    """Count orders, on the event loop."""
    return await Order.objects.filter(status=status).acount()


@task(takes_context=True)
def fail(context: TaskContext, why: str) -> None:
    """Fail, to show how a failure is handled."""
    raise LookupError(f"{why}, attempt {context.attempt}")
