-- wrk's request: the body in the file BODY, with the token TOKEN.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("TOKEN")
local file = io.open(os.getenv("BODY"))
wrk.body = file:read("*a")
file:close()
