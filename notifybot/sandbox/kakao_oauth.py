"""The login of the pretended Kakao: codes, access tokens, refresh tokens."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlencode

from notifybot.sandbox.http import Request, Response
from notifybot.sandbox.kakao_state import Code, KakaoWorld, answer, form_of, login_failure, login_page


def authorize(world: KakaoWorld, request: Request) -> Response:
    """The browser's step: the person agrees at once, or denies if the world says so."""
    query = request.query
    scopes = frozenset(each for each in query.get("scope", "").split(",") if each)
    refusals = (
        (query.get("client_id") != world.rest_api_key, "KOE101"),
        (not world.login_on, "KOE004"),
        (query.get("redirect_uri") not in world.redirect_uris, "KOE006"),
        (query.get("response_type") != "code", "KOE201"),
        (not scopes <= world.enabled_scopes, "KOE205"),
    )
    refusal = next((code for applies, code in refusals if applies), None)
    if refusal:
        return login_page(refusal)
    redirect_uri = query["redirect_uri"]
    if world.denies:
        result = {"error": "access_denied", "error_description": "User denied access"}
    else:
        code = world.name_for("code")
        expires_at = world.clock.now() + timedelta(seconds=world.code_lives_s)
        world.codes[code] = Code(redirect_uri, scopes - world.unticked, expires_at, world.browser_account)
        result = {"code": code}
    if "state" in query:
        result["state"] = query["state"]
    return Response(302, b"", {"Location": f"{redirect_uri}?{urlencode(result)}"})


def token(world: KakaoWorld, request: Request) -> Response:
    """The token endpoint: a code or a refresh token for an access token."""
    fields = form_of(request)
    if not fields.get("grant_type"):
        return login_failure("KOE310")
    if fields.get("client_id") != world.rest_api_key:
        return login_failure("KOE101")
    if world.client_secret is not None and fields.get("client_secret") != world.client_secret:
        return login_failure("KOE010", world.client_secret_status)
    match fields["grant_type"]:
        case "authorization_code":
            return _exchange(world, fields)
        case "refresh_token":
            return _refresh(world, fields)
    return login_failure("KOE310")


def _exchange(world: KakaoWorld, fields: dict[str, str]) -> Response:
    code = world.codes.get(fields.get("code", ""))
    if code is None or code.expires_at <= world.clock.now():
        return login_failure("KOE320")
    if code.redirect_uri != fields.get("redirect_uri"):
        return login_failure("KOE303")
    del world.codes[fields["code"]]
    world.linked = True
    for friend in world.friends:  # one who signs in and agrees can be written to from now on
        if friend.uuid == code.account:
            friend.agreed = "friends" in code.scopes
    return answer({**_access(world, code.scopes, code.account), **_refresh_token(world, code.scopes, code.account)})


def _refresh(world: KakaoWorld, fields: dict[str, str]) -> Response:
    value = fields.get("refresh_token")
    if not value:
        return login_failure("KOE319")
    held = world.refresh_tokens.get(value)
    now = world.clock.now()
    if held is None or held.expires_at <= now or not world.linked:
        return login_failure("KOE322")
    world.refreshes += 1
    reply = _access(world, held.scopes, held.account)
    if (held.expires_at - now).total_seconds() < world.rotates_below_s:
        reply |= _refresh_token(world, held.scopes, held.account)
        if not world.old_refresh_token_survives:
            del world.refresh_tokens[value]
    return answer(reply)


def _access(world: KakaoWorld, scopes: frozenset[str], account: str) -> dict[str, object]:
    value = world.name_for("access-token")
    world.access_tokens[value] = world.grant(scopes, world.access_lives_s, account)
    return {
        "access_token": value,
        "token_type": "bearer",
        "expires_in": int(world.access_lives_s),
        "scope": " ".join(sorted(scopes)),
    }


def _refresh_token(world: KakaoWorld, scopes: frozenset[str], account: str) -> dict[str, object]:
    value = world.name_for("refresh-token")
    world.refresh_tokens[value] = world.grant(scopes, world.refresh_lives_s, account)
    return {"refresh_token": value, "refresh_token_expires_in": int(world.refresh_lives_s)}
