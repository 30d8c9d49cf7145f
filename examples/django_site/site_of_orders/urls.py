"""The URLs of the views."""

from django.urls import path
from orders import views

urlpatterns = [
    path("orders/", views.place),
    path("orders/<int:number>/", views.show),
    path("results/<str:result_id>/", views.result),
]
