"""Accounts for every number: what clients sent, what replicas wrote down, what came back."""


def audit(crowd, records):
    read, wrong_up = read_records(records)
    sent = unread = unanswered = wrong_down = 0
    for client in crowd.clients:
        heard = set(client.heard)
        seen = read.get(client.number, set())
        sent += len(client.sent)
        unread += len(set(client.sent) - seen)
        unanswered += len(seen - heard)
        wrong_down += out_of_order(client.heard)
    return {
        "closed": sum(client.closed for client in crowd.clients),
        "clients_hit": sum(client.closed > 0 for client in crowd.clients),
        "sent": sent,
        "unread": unread,
        "unanswered": unanswered,
        "wrong_up": wrong_up,
        "wrong_down": wrong_down,
        "silence": max(client.silence for client in crowd.clients),
    }


def read_records(records):
    """What replicas read of each client, and how much of it came twice or out of order: they share one clock."""
    lines = []
    for record in records:
        for line in record.read_text().splitlines():
            at, client, number = map(int, line.split())
            lines.append((at, client, number))
    lines.sort()
    in_order = {}
    for _, client, number in lines:
        in_order.setdefault(client, []).append(number)
    wrong = sum(out_of_order(numbers) for numbers in in_order.values())
    return {client: set(numbers) for client, numbers in in_order.items()}, wrong


def out_of_order(numbers):
    last = count = 0
    for number in numbers:
        count += number <= last
        last = max(last, number)
    return count
