-- Servers from before they could move: they come from nowhere, and what disks they were booted with was not kept.
update servers set body = '{"origin": null, "disks": []}'::jsonb || body where not body ? 'origin';
