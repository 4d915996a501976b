"""An event that was acknowledged is there at once, for a poll of the same millisecond too (promise
1), and all subscribers see one order, that of the ids (promise 3)."""
import threading

import daemon
import wire

TIMES = 2000


class SameMillisecond(daemon.TestCase):
    def publish_and_poll(self, store):
        server = self.start("--event-buffer", "5", store=store)
        connection = wire.Connection(server)
        self.addCleanup(connection.close)
        for n in range(TIMES):
            status, body = connection.publish("c", n)
            self.assertEqual(status, 200, body)
            answer = connection.poll("c", since_time=1)
            self.assertIn("events", answer, f"event {n} is acknowledged and not there")
            there = [event["data"] for event in answer["events"]]
            self.assertEqual(there, list(range(max(0, n - 4), n + 1)))

    def test_an_acknowledged_event_is_in_the_next_answer_in_memory(self):
        self.publish_and_poll("memory")

    def test_an_acknowledged_event_is_in_the_next_answer_with_a_store(self):
        self.publish_and_poll(self.store)


class Subscriber(threading.Thread):
    """Follows a category by the documented loop until it has seen as many events."""

    def __init__(self, server, count):
        super().__init__()
        self.connection = wire.Connection(server)
        self.count, self.seen, self.error = count, [], None

    def run(self):
        cursor = {"since_time": 1}
        try:
            while len(self.seen) < self.count:
                answer = self.connection.poll("c", **cursor)
                for event in answer.get("events", []):
                    self.seen.append((event["id"], event["data"]))
                    cursor = {"since_time": event["timestamp"], "last_id": event["id"]}
        except (OSError, daemon.Failed) as error:
            self.error = error
        finally:
            self.connection.close()


class OneOrder(daemon.TestCase):
    def test_all_subscribers_see_the_events_of_many_publishers_in_the_order_of_their_ids(self):
        publishers, each = 6, 200
        server = self.start("--event-buffer", str(publishers * each))
        subscribers = [Subscriber(server, publishers * each) for _ in range(5)]
        for subscriber in subscribers:
            subscriber.start()

        def publish(number):
            connection = wire.Connection(server)
            for n in range(each):
                connection.publish("c", [number, n])
            connection.close()

        threads = [threading.Thread(target=publish, args=(i,)) for i in range(publishers)]
        for thread in threads:
            thread.start()
        for thread in threads + subscribers:
            thread.join(daemon.DEADLINE_S)
            self.assertFalse(thread.is_alive())
        first = subscribers[0].seen
        self.assertEqual([id for id, _ in first], sorted({id for id, _ in first}))
        for number in range(publishers):
            mine = [n for publisher, n in (data for _, data in first) if publisher == number]
            self.assertEqual(mine, list(range(each)))
        for subscriber in subscribers:
            self.assertIsNone(subscriber.error)
            self.assertEqual(subscriber.seen, first)


if __name__ == "__main__":
    daemon.main()
