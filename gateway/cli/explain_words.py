"""The words of `explain` in Japanese and English: what is stored as a token is shown as a word.

A word a reader may give to another command (a state to `mail list --state`) keeps its token beside it.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.cli import Invocation

Words = Mapping[str, tuple[str, str]]

# What a recipient waits for or why it ended, in Japanese and English.
WHY: Words = {
    "next": ("次に処理します", "is next"),
    "behind": ("前に {ahead} 通あります", "{ahead} stand before it"),
    "deferred": ("{when} に再試行します", "tried again at {when}"),
    "paused": ("宛先が一時停止中です（destination resume）", "its destination is paused (destination resume)"),
    "work": (
        "申込 {receipt} の回線工事が終わる {when} まで待ちます",
        "waits until {when} for the work on its line, application {receipt}",
    ),
    "down": ("宛先が応答しません。次の試行 {when}", "its destination does not answer; next try {when}"),
    "unbound": (
        "アドレスは今日この端末に割り当てられておらず、未送信になります",
        "its address does not lead to this terminal today, so it will be undelivered",
    ),
    "address_busy": (
        "同じアドレスの処理結果を待っています（{when} まで）",
        "waits for the result of its address's earlier request, until {when}",
    ),
    "received": ("処理を待っています", "waits to be handled"),
    "handled": ("処理しました", "handled"),
    "refused": ("断りました", "refused"),
    "duplicate": ("同じメールが届いていました", "the same mail had come before"),
    "held": ("審査担当者の確認を待っています", "waits for a reviewer"),
    "parked": ("保留中です（mail release で解除）", "set aside (mail release lets it go)"),
    "expired": ("有効時間を過ぎました", "its life had passed"),
    "queued": ("送信を待っています", "waits to be sent"),
    "delivered": ("相手が受け取りました", "its peer took it"),
    "undelivered": (
        "未送信です（SYG、terminal undelivered または mail resend で再送）",
        "not delivered (SYG, terminal undelivered or mail resend sends it again)",
    ),
    "failed": ("相手が断りました", "its peer refused it for good"),
    "cancelled": ("取り消しました", "withdrawn by an operator"),
}

# Instead of `expired`, where the life of a hand-over had not passed: a try ended in doubt.
MAY_HAVE_ARRIVED = ("届いた可能性があるため、再送しません", "it may have arrived, so it is not sent again")

# What becomes of a message to an address that comes from the backend now.
FATES: Words = {
    "delivered": ("{lane} へ送ります（{place}）", "goes to {lane} at {place}"),
    "waits": ("{lane} で待ちます（{place}）", "waits in {lane} for {place}"),
    "undelivered": ("端末にIPアドレスがなく、未送信になります", "becomes undelivered: the terminal has no IP address"),
    "parked": (
        "250で受け取り、保留して運用者に知らせます",
        "is taken with 250, parked, and an operator is told",
    ),
}

REQUEST_STATES: Words = {
    "waiting": ("引き渡し前", "not handed over yet"),
    "handed_over": ("処理結果待ち", "handed over, waits for its result"),
    "in_doubt": ("届いたか不明", "in doubt: it may have arrived"),
    "answered": ("返信済み", "answered"),
    "given_up": ("処理結果なし", "no result came"),
}

# The times of a request, in their order.
REQUEST_TIMES: Words = {
    "received_at": ("受信", "received_at"),
    "claimed_at": ("引き渡し開始", "claimed_at"),
    "outstanding_until": ("処理結果の待ち期限", "outstanding_until"),
    "late_at": ("遅延", "late_at"),
    "overdue_at": ("期限超過", "overdue_at"),
    "answered_at": ("返信", "answered_at"),
}

# States of a recipient: the word beside the token that filters take.
STATES: Words = {
    "received": ("受信済み（received）", "received"),
    "handled": ("処理済み（handled）", "handled"),
    "refused": ("拒否（refused）", "refused"),
    "duplicate": ("重複（duplicate）", "duplicate"),
    "held": ("確認待ち（held）", "held"),
    "parked": ("保留（parked）", "parked"),
    "expired": ("期限切れ（expired）", "expired"),
    "queued": ("送信待ち（queued）", "queued"),
    "delivered": ("送信済み（delivered）", "delivered"),
    "undelivered": ("未送信（undelivered）", "undelivered"),
    "failed": ("送信不能（failed）", "failed"),
    "cancelled": ("取り消し（cancelled）", "cancelled"),
}

DIRECTIONS: Words = {"inbound": ("受信", "inbound"), "outbound": ("送信", "outbound")}

LISTENERS: Words = {
    "naccs": ("端末から", "naccs"),
    "backend": ("バックエンドから", "backend"),
    "public": ("申込窓口へ", "public"),
    "gateway": ("ゲートウェイ作成", "gateway"),
}

OUTCOMES: Words = {
    "temporary": ("一時的な失敗", "temporary"),
    "permanent": ("恒久的な失敗", "permanent"),
    "in_doubt": ("届いたか不明", "in_doubt"),
}

STAGES: Words = {
    "connect": ("接続", "connect"),
    "helo": ("HELO", "helo"),
    "mail": ("MAIL", "mail"),
    "rcpt": ("RCPT", "rcpt"),
    "data": ("DATA", "data"),
    "dot": ("最後のピリオドの後", "dot"),
    "hand_over": ("引き渡し", "hand_over"),
}

ENDPOINTS: Words = {"primary": ("主系", "primary"), "backup": ("予備系", "backup"), "auto": ("自動", "auto")}

BINDING_STATES: Words = {
    "in_force": ("有効", "in force"),
    "ended": ("終了", "ended"),
    "coming": ("予定", "coming"),
    "never_in_force": ("取消（有効になりません）", "taken back, never in force"),
}


def word(running: Invocation, words: Words, token: str) -> str:
    """The word for a token in the language of the invocation; a token that has none is shown as it is."""
    ja, en = words.get(token, (token, token))
    return running.text(ja=ja, en=en)
