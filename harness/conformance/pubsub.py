"""Pub/Sub under google-cloud-pubsub by gRPC: publish, pull, refuse, pull again, acknowledge.

PUBSUB_EMULATOR_HOST decides against whom: the local cloud, or Google's own emulator, which must do the same.
"""
import os
import sys

from google.api_core import exceptions
from google.cloud import pubsub_v1

project = os.environ["CLOUDSDK_CORE_PROJECT"]
publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
topic = publisher.topic_path(project, "python")
subscription = subscriber.subscription_path(project, "python")

publisher.create_topic(name=topic)
try:
    publisher.create_topic(name=topic)
    sys.exit("a topic was made twice")
except exceptions.AlreadyExists:
    pass
subscriber.create_subscription(name=subscription, topic=topic, ack_deadline_seconds=10)
publisher.publish(topic, b"hello", kind="greeting").result(timeout=60)

first = subscriber.pull(subscription=subscription, max_messages=5, timeout=60).received_messages
assert [(m.message.data, m.message.attributes["kind"]) for m in first] == [(b"hello", "greeting")], first
subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[first[0].ack_id], ack_deadline_seconds=0)
second = subscriber.pull(subscription=subscription, max_messages=5, timeout=60).received_messages
assert [m.message.message_id for m in second] == [first[0].message.message_id], second
subscriber.acknowledge(subscription=subscription, ack_ids=[second[0].ack_id])
try:
    subscriber.get_subscription(subscription=subscriber.subscription_path(project, "none"))
    sys.exit("a subscription that is not there was found")
except exceptions.NotFound:
    pass
subscriber.delete_subscription(subscription=subscription)
publisher.delete_topic(topic=topic)
