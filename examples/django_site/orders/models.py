"""The stored data."""

from django.db import models


class Order(models.Model):
    """An order and its state."""

    buyer = models.CharField(max_length=100)
    status = models.CharField(max_length=20, default="placed")
