"""Accounts for every number: what clients sent, what replicas wrote down, what came back, and what the gateway said of it."""


def audit(clients, records, told):
    """`told`: by client, ranges of its messages of which the gateway said that they may be lost; or nothing."""
    read = read_records(records)
    report = dict.fromkeys(
        ["closed", "clients_hit", "sent", "unread", "unanswered", "untold", "late", "wrong_up", "wrong_down"], 0
    )
    for client in clients:
        ranges = (told or {}).get(client.number, [])
        numbers = read.get(client.number, [])
        unread = set(range(1, client.sent + 1)) - set(numbers)
        unanswered = set(numbers) - set(client.heard)
        report["closed"] += client.closed
        report["clients_hit"] += client.closed > 0
        report["sent"] += client.sent
        report["unread"] += len(unread)
        report["unanswered"] += len(unanswered)
        report["untold"] += sum(not is_in(number, ranges) for number in unread | unanswered)
        # Two replicas read at their own pace: what the one before still read when its connection was
        # over may come to paper behind what the next one read.
        wrong, twice = out_of_order(numbers)
        late = sum(is_in(number, ranges) for number in wrong)
        report["late"] += late
        report["wrong_up"] += len(wrong) - late + twice
        wrong, twice = out_of_order(client.heard)
        report["wrong_down"] += len(wrong) + twice
    report["silence"] = max(client.silence for client in clients)
    report["told"] = None if told is None else sum(b - a + 1 for ranges in told.values() for a, b in ranges)
    return report


def read_records(records):
    """What replicas read of each client, in the order of the clock that they share."""
    lines = []
    for record in records:
        for line in record.read_text().splitlines():
            at, client, number = map(int, line.split())
            lines.append((at, client, number))
    lines.sort()
    in_order = {}
    for _, client, number in lines:
        in_order.setdefault(client, []).append(number)
    return in_order


def is_in(number, ranges):
    return any(first <= number <= last for first, last in ranges)


def out_of_order(numbers):
    """Those that come behind a later one, and how many came before."""
    last, wrong = 0, []
    for number in dict.fromkeys(numbers):
        if number < last:
            wrong.append(number)
        last = max(last, number)
    return wrong, len(numbers) - len(set(numbers))
