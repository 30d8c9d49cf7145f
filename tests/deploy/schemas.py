"""What the custom resources of deploy/kubernetes may hold: the part of their definitions that is used there.

From the references of KEDA 2 (https://keda.sh/docs/latest/reference/scaledobject-spec/ and its PostgreSQL scaler) and
of the Prometheus operator (https://prometheus-operator.dev/docs/api-reference/api/). A field that is in none of these
is a mistake until somebody has looked it up and added it here.
"""

from __future__ import annotations

from typing import Any


def fields(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


def some(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


TEXT = {"type": "string", "minLength": 1}
NUMBER = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}
METADATA = fields({"name": TEXT}, {"namespace": TEXT, "labels": TEXTS})
DURATION = {"type": "string", "pattern": "^([0-9]+(ms|[smhdwy]))+$"}
SCALING = fields(
    {"stabilizationWindowSeconds": NUMBER},
    {"policies": some(fields({"type": {"enum": ["Percent", "Pods"]}, "value": NUMBER, "periodSeconds": NUMBER}))},
)
RELABELING = fields({"targetLabel": TEXT, "replacement": TEXT})
RULE = {
    "oneOf": [
        fields({"record": TEXT, "expr": TEXT}, {"labels": TEXTS}),
        fields({"alert": TEXT, "expr": TEXT}, {"for": DURATION, "labels": TEXTS, "annotations": TEXTS}),
    ]
}


def resource(version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return fields({"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": METADATA, "spec": spec})


SCHEMAS: dict[str, dict[str, Any]] = {
    "ScaledObject": resource(
        "keda.sh/v1alpha1",
        "ScaledObject",
        fields(
            {
                "scaleTargetRef": fields({"name": TEXT}, {"apiVersion": TEXT, "kind": TEXT}),
                "triggers": some(
                    fields(
                        {
                            "type": {"const": "postgresql"},
                            "metadata": fields(
                                {"query": TEXT, "targetQueryValue": TEXT}, {"activationTargetQueryValue": TEXT}
                            ),
                            "authenticationRef": fields({"name": TEXT}),
                        }
                    )
                ),
            },
            {
                "pollingInterval": NUMBER,
                "cooldownPeriod": NUMBER,
                "minReplicaCount": NUMBER,
                "maxReplicaCount": NUMBER,
                "fallback": fields(
                    {"failureThreshold": NUMBER, "replicas": NUMBER},
                    {
                        "behavior": {
                            "enum": ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]
                        }
                    },
                ),
                "advanced": fields(
                    {
                        "horizontalPodAutoscalerConfig": fields(
                            {"behavior": fields({"scaleUp": SCALING, "scaleDown": SCALING})}
                        )
                    }
                ),
            },
        ),
    ),
    "TriggerAuthentication": resource(
        "keda.sh/v1alpha1",
        "TriggerAuthentication",
        fields({"secretTargetRef": some(fields({"parameter": TEXT, "name": TEXT, "key": TEXT}))}),
    ),
    "ServiceMonitor": resource(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        fields(
            {
                "selector": fields({"matchLabels": TEXTS}),
                "endpoints": some(
                    fields(
                        {"port": TEXT},
                        {
                            "path": TEXT,
                            "interval": DURATION,
                            "authorization": fields({"credentials": fields({"name": TEXT, "key": TEXT})}),
                            "relabelings": some(RELABELING),
                        },
                    )
                ),
            }
        ),
    ),
    "PrometheusRule": resource(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        fields({"groups": some(fields({"name": TEXT, "rules": some(RULE)}, {"interval": DURATION}))}),
    ),
}
