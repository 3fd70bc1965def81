-- Downloads and returns of the gateway itself, what the bureau last said, the exchange of every invoice, and the credit
-- settings of units. Amounts in fen, instants in microseconds since 1970.

ALTER TABLE ledger_account ADD COLUMN bureau_downloaded BIGINT;                  -- yxzed as last seen
ALTER TABLE ledger_account ADD COLUMN bureau_unused BIGINT;                      -- yxzwsyed as last seen
ALTER TABLE ledger_account ADD COLUMN exact BOOLEAN NOT NULL DEFAULT false;      -- `elsewhere` was measured while nothing was under way
ALTER TABLE ledger_account ADD COLUMN valid_since BIGINT;                        -- when the interval valid_from..valid_to was asked for

ALTER TABLE ledger_entry ADD COLUMN exchange BIGINT;                             -- the latest upload of it
CREATE INDEX ledger_entry_by_exchange ON ledger_entry (exchange) WHERE exchange IS NOT NULL;

ALTER TABLE ledger_transfer ADD COLUMN direction TEXT NOT NULL DEFAULT 'download' CHECK (direction IN ('download', 'return'));
ALTER TABLE ledger_transfer ADD COLUMN amount BIGINT NOT NULL DEFAULT 0;
ALTER TABLE ledger_transfer ADD COLUMN "before" BIGINT NOT NULL DEFAULT 0;       -- downloaded when it was begun, without it
ALTER TABLE ledger_transfer ADD COLUMN platform_id TEXT NOT NULL DEFAULT '';     -- ptbh
ALTER TABLE ledger_transfer ADD COLUMN state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done', 'refused', 'expired'));
ALTER TABLE ledger_transfer ADD COLUMN own BOOLEAN NOT NULL DEFAULT false;       -- the gateway's own, sent again until its outcome is known
ALTER TABLE ledger_transfer ADD COLUMN origin TEXT;                              -- what it is the one transfer of, such as a request's key
ALTER TABLE ledger_transfer ADD COLUMN actor TEXT NOT NULL DEFAULT '';
ALTER TABLE ledger_transfer ADD COLUMN code TEXT;                                -- the platform's refusal, or why the outcome is unknown
ALTER TABLE ledger_transfer ADD COLUMN text TEXT;
ALTER TABLE ledger_transfer ADD COLUMN begun_at BIGINT NOT NULL DEFAULT 0;
UPDATE ledger_transfer SET begun_at = at, state = CASE WHEN done THEN 'done' ELSE 'open' END;
ALTER TABLE ledger_transfer DROP COLUMN done;

-- never a second one while the outcome of the first is open
CREATE UNIQUE INDEX ledger_transfer_open ON ledger_transfer (issuer) WHERE own AND state = 'open';
CREATE UNIQUE INDEX ledger_transfer_by_origin ON ledger_transfer (issuer, origin) WHERE origin IS NOT NULL;
CREATE INDEX ledger_transfer_by_time ON ledger_transfer (issuer, begun_at);

CREATE TABLE quota_setting (
    tax_no             TEXT    COLLATE "C" NOT NULL PRIMARY KEY REFERENCES unit (tax_no) ON DELETE CASCADE,
    month_start_share  BIGINT  NOT NULL,             -- percent of what the bureau has left
    month_start_amount BIGINT,                       -- instead of the share
    low_water          BIGINT,
    top_up_amount      BIGINT,                       -- at least so much; else the share
    top_up_on_demand   BOOLEAN NOT NULL,
    return_unused      BOOLEAN NOT NULL,
    allowance_returns  BOOLEAN NOT NULL,
    updated_at         BIGINT  NOT NULL
);
